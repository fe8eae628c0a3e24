//! Snapshots that nobody took, drawn on a screen that is none.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use proxy_common::{
    accel::Reason,
    flow::{Close, Direction, Forward, Hop},
    verdict::{Rule, Target},
};
use proxy_plane::flows::{Flow, Path as Carried, Split, State, Stream, Times};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::{
    keys::{After, View},
    path::Path,
    rates::{Interval, Rates},
    screen,
    snapshot::Snapshot,
};

mod list;

const WORKLOAD: &str = "4026532185-28487";

pub(crate) fn flow(id: u64, hop: Hop, forward: Option<Forward>, up: Split, down: Split) -> Flow {
    let stream = |split: Split| Stream {
        written: Some(split),
        last_reason: (split.stacked > 0).then_some(if hop == Hop::Inner {
            Reason::SmallStream
        } else {
            Reason::Elsewhere
        }),
        ..Stream::default()
    };
    let (upload, download) = (stream(up), stream(down));
    Flow {
        id,
        state: State::Live,
        workload: Arc::from(WORKLOAD),
        namespace: None,
        pod: None,
        direction: Direction::Inbound,
        hop,
        local: hop == Hop::Inner,
        forward,
        client: "10.10.0.9:40000".parse().unwrap(),
        server: "10.10.0.26:8080".parse().unwrap(),
        original_client: None,
        original_destination: "10.10.0.26:8080".parse().unwrap(),
        listener: Some(15006),
        rule: Some(Rule::I6),
        verdict: Target::Inbound,
        client_process: None,
        server_process: None,
        times: Times {
            syn: Some(1_000 * id),
            established: Some(1_000 * id + 52),
            accepted: Some(1_000 * id + 61),
            ..Times::default()
        },
        duration_us: Some(1_000),
        path: Carried::of(&upload, &download),
        upload,
        download,
        rtt_us: (hop == Hop::Inbound).then_some(41),
        idle_us: None,
        retransmits: 0,
        close: None,
        closed_by: None,
    }
}

fn stacked(bytes: u64) -> Split {
    Split { redirected: 0, stacked: bytes }
}

fn redirected(bytes: u64) -> Split {
    Split { redirected: bytes, stacked: 0 }
}

/// Two looks, two seconds apart: one connection through the sidecar that goes on, and one that came and went.
fn interval() -> Interval {
    let mut rates = Rates::default();
    let now = Instant::now();
    let before = vec![
        flow(1, Hop::Inbound, None, stacked(1_000), stacked(5_000)),
        flow(2, Hop::Inner, Some(Forward::Lo), redirected(1_000), redirected(5_000)),
    ];
    let first = rates.next(Snapshot { at: now, live: before, closed: Vec::new(), lost: 0 });
    assert!(first.seconds.is_none() && first.flows.iter().all(|rated| rated.up.total() == 0));
    let after = vec![
        flow(1, Hop::Inbound, None, stacked(3_000), stacked(25_000)),
        flow(2, Hop::Inner, Some(Forward::Lo), redirected(3_000), redirected(25_000)),
    ];
    let short = Flow {
        state: State::Closed,
        close: Some(Close::Fin),
        ..flow(3, Hop::Inner, Some(Forward::Lo), stacked(10), stacked(10))
    };
    let at = now + Duration::from_secs(2);
    rates.next(Snapshot { at, live: after, closed: vec![short], lost: 7 })
}

fn screen_of(interval: &Interval, view: &mut View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(frame, interval, view)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

#[test]
fn rates_are_what_came_since_the_look_before() {
    let path = Path::of(&interval(), Direction::Inbound, None);
    assert_eq!((path.first.up, path.first.down), (Some(1_000.0), Some(10_000.0)));
    assert_eq!((path.first.live, path.first.opened), (1, Some(0.0)));
    assert_eq!((path.first.share.percent(), path.first.rtt_us), (None, Some(41)));
    assert_eq!(path.first.share.elsewhere, 22_000);
    let [(Some(Forward::Lo), inner)] = &path.second[..] else { panic!("{path:?}") };
    // A connection that came and went between two looks counts with all it carried.
    assert_eq!((inner.up, inner.down, inner.opened), (Some(1_005.0), Some(10_005.0), Some(0.5)));
    assert_eq!((inner.live, inner.connect_us, inner.rtt_us), (1, Some(52), None));
    assert_eq!(inner.share.percent(), Some(99), "{inner:?}");
}

#[test]
fn a_flow_that_closes_between_the_two_reads_counts_once() {
    let mut rates = Rates::default();
    let at = Instant::now();
    rates.next(Snapshot { at, live: Vec::new(), closed: Vec::new(), lost: 0 });
    let live = flow(1, Hop::Inbound, None, stacked(10), stacked(0));
    let closed = Flow { state: State::Closed, ..live.clone() };
    let next = Snapshot { at: at + Duration::from_secs(1), live: vec![live], closed: vec![closed], lost: 0 };
    assert_eq!(rates.next(next).flows.len(), 1);
}

#[test]
fn a_flow_whose_last_record_comes_late_is_not_counted_from_its_beginning() {
    let mut rates = Rates::default();
    let at = Instant::now();
    let open = flow(1, Hop::Inbound, None, stacked(100), stacked(0));
    let closed = Flow { state: State::Closed, ..flow(1, Hop::Inbound, None, stacked(110), stacked(0)) };
    let look = |seconds, live: &[Flow], closed: &[Flow]| Snapshot {
        at: at + Duration::from_secs(seconds),
        live: live.to_vec(),
        closed: closed.to_vec(),
        lost: 0,
    };
    rates.next(look(0, std::slice::from_ref(&open), &[]));
    assert!(rates.next(look(1, &[], &[])).flows.is_empty());
    let last = rates.next(look(2, &[], &[closed]));
    assert_eq!((last.flows[0].up, last.flows[0].new), (stacked(10), false));
}

#[test]
fn the_path_is_drawn_hop_by_hop_in_80_columns() {
    let lines = screen_of(&interval(), &mut View::default(), 80, 24);
    let all = lines.join("\n");
    assert!(lines[0].starts_with("sidestep flows  all workloads  by rate  7 records lost"), "{all}");
    assert!(lines[1].starts_with("2 flows, 0.5 new/s, 2.0 kB/s up, 20.0 kB/s down"), "{all}");
    let hops = ["client ─", "> eth0 ─", "> :15006", "sidecar ━", "> lo ━", "> app"];
    assert!(hops.iter().all(|part| lines[3].contains(part)), "{all}");
    for (line, left, right) in [
        (4, "inbound: 1 flows, 0.0 new/s", "to the app, mode lo: 1 flows, 0.5 new/s"),
        (5, "up 1.0 kB/s  down 10.0 kB/s  rtt 41 us", "up 1.0 kB/s  down 10.0 kB/s  rtt -"),
        (6, "connect 52 us  accepted after 9 us", "connect 52 us  accepted after 9 us"),
        (7, "one end elsewhere: nothing to skip", "redirected 99 %, stack: small_stream"),
    ] {
        let (l, r) = (lines[line].chars().take(40).collect::<String>(), lines[line].chars().skip(40));
        assert_eq!((l.trim_end(), r.collect::<String>().as_str()), (left, right), "{all}");
    }
    assert_eq!(
        lines[9], "CLIENT                 DESTINATION            HOP      PATH  UP        DOWN",
        "{all}"
    );
    assert_eq!(
        lines[10], "10.10.0.9:40000        10.10.0.26:8080        lo       redir 1.0 kB/s  10.0 kB/s",
        "{all}"
    );
    assert!(lines[12].contains("closed    fin"), "{all}");
    assert!(lines[23].starts_with("q quit  ? keys") && lines[23].ends_with("1-3 of 3"), "{all}");
}

#[test]
fn both_modes_at_once_are_drawn_below_each_other() {
    let mut rates = Rates::default();
    let live = vec![
        flow(1, Hop::Inner, Some(Forward::Lo), stacked(1), stacked(1)),
        flow(2, Hop::Inner, Some(Forward::Eth0), stacked(1), stacked(1)),
    ];
    let interval = rates.next(Snapshot { at: Instant::now(), live, closed: Vec::new(), lost: 0 });
    let lines = screen_of(&interval, &mut View::default(), 80, 24);
    assert!(lines[3].contains("> lo ") && lines[9].contains("> eth0 "), "{}", lines.join("\n"));
    assert!(lines[4].contains("1 flows, - new/s"), "the first look knows no rates: {}", lines[4]);
}

#[test]
fn a_screen_that_became_too_small_says_so() {
    let lines = screen_of(&interval(), &mut View::default(), 60, 24);
    assert!(lines[0].starts_with("60x24 is too small: enlarge the terminal to 80x24"), "{}", lines[0]);
}

#[test]
fn keys_change_the_view() {
    let interval = interval();
    let mut view = View::default();
    let mut press = |code| view.press(KeyEvent::new(code, KeyModifiers::NONE), &interval);
    assert_eq!([press(KeyCode::Tab), press(KeyCode::Char('w')), press(KeyCode::Char(' '))], [After::Go; 3]);
    assert_eq!(press(KeyCode::Char('q')), After::Quit);
    assert_eq!((view.direction, view.paused), (Direction::Outbound, true));
    assert_eq!(view.workload.as_deref(), Some(WORKLOAD));
    let lines = screen_of(&interval, &mut view, 80, 24).join("\n");
    assert!(lines.contains(WORKLOAD) && lines.contains("PAUSED"), "{lines}");
    assert!(lines.contains("app ─") && lines.contains("> :15001"), "{lines}");
    view.press(KeyEvent::new(KeyCode::Char('w'), KeyModifiers::NONE), &interval);
    assert_eq!(view.workload, None, "after the last one, all again");
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.press(control_c, &interval), After::Quit);
}
