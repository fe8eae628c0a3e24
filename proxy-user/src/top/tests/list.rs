//! The list: its order, its filter, what of it is in sight, its columns; and the keys for all that.

use proxy_plane::flows::Process;

use super::*;
use crate::top::keys::{KEYS, Mode};

/// One look later: flow N comes from process N, is N minutes old, and has moved 1,000 N bytes, 100 of them now; the last
/// three are to one destination.
fn many(count: u64) -> Interval {
    let at = |number: u64, bytes: u64| Flow {
        client: format!("10.10.0.9:{}", 40_000 + number).parse().unwrap(),
        original_destination: format!("10.96.0.{}:80", number.min(count - 2)).parse().unwrap(),
        client_process: Some(Process { pid: 1, comm: "curl".into(), uid: 0 }),
        server_process: Some(Process { pid: 100 + number as u32, comm: format!("app-{number}"), uid: 0 }),
        namespace: Some("shop".into()),
        pod: Some("web-0".into()),
        duration_us: Some(number * 60_000_000),
        ..flow(number, Hop::Inbound, None, stacked(bytes), stacked(0))
    };
    let mut rates = Rates::default();
    let now = Instant::now();
    let mut look = |seconds, more: fn(u64) -> u64| {
        let live = (1..=count).map(|number| at(number, 1_000 * number + more(number))).collect();
        let at = now + Duration::from_secs(seconds);
        rates.next(Snapshot { at, live, closed: Vec::new(), lost: 0 })
    };
    look(0, |_| 0);
    // The older, the quieter.
    look(1, |number| 1_000 - number)
}

fn press(view: &mut View, interval: &Interval, keys: &[KeyCode]) {
    for code in keys {
        assert_eq!(view.press(KeyEvent::new(*code, KeyModifiers::NONE), interval), After::Go, "{code:?}");
    }
}

fn type_in(view: &mut View, interval: &Interval, text: &str) {
    press(view, interval, &text.chars().map(KeyCode::Char).collect::<Vec<_>>());
}

/// Ports of the clients less 40,000, as they stand below each other.
fn numbers(lines: &[String]) -> Vec<u64> {
    let head = lines.iter().position(|line| line.starts_with("CLIENT")).unwrap();
    let rows = lines[head + 1..].iter().filter_map(|line| line.strip_prefix("10.10.0.9:"));
    rows.map(|row| row.split(' ').next().unwrap().parse::<u64>().unwrap() - 40_000).collect()
}

#[test]
fn it_goes_by_what_the_keys_say_and_shows_that() {
    let interval = many(5);
    let mut view = View::default();
    for (key, said, column, order) in [
        (None, "by rate", "DOWN", [1, 2, 3, 4, 5]),
        (Some('s'), "by bytes", "TOTAL", [5, 4, 3, 2, 1]),
        (Some('s'), "by age", "AGE", [5, 4, 3, 2, 1]),
        (Some('r'), "by age, least first", "AGE", [1, 2, 3, 4, 5]),
        (Some('4'), "by connections, least first", "CONNS", [1, 2, 3, 4, 5]),
        (Some('r'), "by connections", "CONNS", [5, 4, 3, 2, 1]),
        (Some('s'), "by rate", "DOWN", [1, 2, 3, 4, 5]),
        (Some('2'), "by bytes", "TOTAL", [5, 4, 3, 2, 1]),
        (Some('3'), "by age", "AGE", [5, 4, 3, 2, 1]),
        (Some('1'), "by rate", "DOWN", [1, 2, 3, 4, 5]),
    ] {
        press(&mut view, &interval, &key.map(KeyCode::Char).into_iter().collect::<Vec<_>>());
        let lines = screen_of(&interval, &mut view, 80, 24);
        let all = lines.join("\n");
        assert_eq!(lines[0], format!("sidestep flows  all workloads  {said}"), "{key:?}");
        assert!(lines[9].ends_with(column), "{key:?}: {all}");
        assert_eq!(numbers(&lines), order, "{key:?}: {all}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{all}");
    }
    press(&mut view, &interval, &[KeyCode::Char('4')]);
    let lines = screen_of(&interval, &mut view, 80, 24);
    let counts: Vec<&str> = lines[10..15].iter().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(counts, ["3", "3", "3", "1", "1"], "{lines:#?}");
}

#[test]
fn it_scrolls_and_stays_within_itself() {
    let interval = many(40);
    let mut view = View::default();
    // 24 lines, of which the list has 14, one of them its head's.
    for (keys, first) in [
        (&[][..], 1),
        (&[KeyCode::Down, KeyCode::Char('j')], 3),
        (&[KeyCode::PageDown], 16),
        (&[KeyCode::Up, KeyCode::Char('k')], 14),
        (&[KeyCode::End], 28),
        (&[KeyCode::Down, KeyCode::PageDown], 28),
        (&[KeyCode::Up], 27),
        (&[KeyCode::PageUp], 14),
        (&[KeyCode::Home, KeyCode::Up, KeyCode::PageUp], 1),
        (&[KeyCode::Char('G')], 28),
        (&[KeyCode::Char('g')], 1),
        // Another order begins at its beginning.
        (&[KeyCode::End, KeyCode::Char('r'), KeyCode::Char('r')], 1),
        (&[KeyCode::End, KeyCode::Char('1')], 1),
    ] {
        press(&mut view, &interval, keys);
        let lines = screen_of(&interval, &mut view, 80, 24);
        assert_eq!(numbers(&lines), (first..first + 13).collect::<Vec<_>>(), "{keys:?}");
        let place = format!("{first}-{} of 40", first + 12);
        assert!(lines[23].ends_with(&place), "{place}: {}", lines[23]);
    }
    // It became shorter: the end of what there is.
    press(&mut view, &interval, &[KeyCode::End]);
    let lines = screen_of(&many(20), &mut view, 80, 24);
    assert_eq!(numbers(&lines), (8..=20).collect::<Vec<_>>());
    let nothing = screen_of(&Interval::default(), &mut view, 80, 24);
    assert!(nothing[23].ends_with("no flow"), "{}", nothing[23]);
}

#[test]
fn a_filter_is_typed_and_shown_and_holds_for_the_list() {
    let interval = many(12);
    let mut view = View { given: "--port 80 --since 5m".to_owned(), ..View::default() };
    type_in(&mut view, &interval, "/q APP-1");
    assert_eq!((view.mode, view.filter.as_str()), (Mode::Type, "q APP-1"), "q is a letter now");
    let lines = screen_of(&interval, &mut view, 80, 24);
    assert!(lines[23].starts_with("/q APP-1  Enter keeps them, Esc drops them"), "{}", lines[23]);
    assert!(lines[23].ends_with("no flow") && numbers(&lines).is_empty(), "{lines:#?}");
    let control_u = KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL);
    assert_eq!((view.press(control_u, &interval), view.filter.as_str()), (After::Go, ""));
    // Each word, in any case; also of what has no column in 80.
    type_in(&mut view, &interval, "inbound APP-1xx");
    press(&mut view, &interval, &[KeyCode::Backspace, KeyCode::Backspace, KeyCode::Enter]);
    let lines = screen_of(&interval, &mut view, 80, 24);
    let said = "sidestep flows  all workloads  by rate  /inbound APP-1  --port 80 --since 5m";
    assert_eq!(lines[0], said);
    assert!(lines[1].starts_with("4 flows match, 0.0 new/s, 4.0 kB/s up"), "{}", lines[1]);
    assert_eq!(numbers(&lines), [1, 10, 11, 12]);
    assert!(lines[4].starts_with("inbound: 12 flows"), "the way is all flows': {}", lines[4]);
    for (filter, expected) in
        [("10.96.0.7", &[7][..]), ("shop/web-0 :40003", &[3]), ("live app-9", &[9]), ("nobody", &[])]
    {
        view.filter = filter.to_owned();
        assert_eq!(numbers(&screen_of(&interval, &mut view, 80, 24)), expected, "{filter}");
    }
    press(&mut view, &interval, &[KeyCode::Esc]);
    assert!(view.filter.is_empty());
    let escape = KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE);
    type_in(&mut view, &interval, "/x");
    assert_eq!((view.press(escape, &interval), view.filter.as_str()), (After::Go, ""));
    assert_eq!(view.press(escape, &interval), After::Quit, "there is nothing left to leave");
    type_in(&mut view, &interval, &format!("/{}", "long".repeat(30)));
    let lines = screen_of(&interval, &mut view, 80, 24);
    assert!(lines[0].ends_with('…') && lines[23].contains("ong  Enter keeps them"), "{lines:#?}");
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.press(control_c, &interval), After::Quit);
}

#[test]
fn wider_terminals_show_more() {
    let interval = many(3);
    let of_80 = "CLIENT DESTINATION HOP PATH UP DOWN".to_owned();
    for (width, more) in [
        (80, ""),
        (83, ""),
        (84, " AGE"),
        (100, " AGE TOTAL"),
        (120, " AGE TOTAL PROCESSES"),
        (150, " AGE TOTAL PROCESSES WORKLOAD"),
        (160, " AGE TOTAL PROCESSES WORKLOAD CONNS"),
        (300, " AGE TOTAL PROCESSES WORKLOAD CONNS"),
    ] {
        let lines = screen_of(&interval, &mut View::default(), width, 24);
        let head: Vec<&str> = lines[9].split_whitespace().collect();
        assert_eq!(head.join(" "), format!("{of_80}{more}"), "{width}");
    }
    let lines = screen_of(&interval, &mut View::default(), 160, 24);
    let cells: Vec<&str> = lines[12].split_whitespace().collect();
    let expected =
        "10.10.0.9:40003 10.96.0.1:80 inbound stack 997 B/s 0 B/s 3m 3.9K curl 1 > app-3 103 shop/web-0 3";
    assert_eq!(cells.join(" "), expected);
    // An address that does not fit keeps its port.
    let six = flow(1, Hop::Inbound, None, stacked(1), stacked(1));
    let six = Flow { client: "[2001:db8:1234:5678:9abc:def0:1234:5678]:50000".parse().unwrap(), ..six };
    let live = vec![six];
    let interval = Rates::default().next(Snapshot { at: Instant::now(), live, closed: Vec::new(), lost: 0 });
    let narrow = screen_of(&interval, &mut View::default(), 80, 24);
    assert!(narrow[10].starts_with("…def0:1234:5678]:50000 10.10.0.26:8080"), "{}", narrow[10]);
    let wide = screen_of(&interval, &mut View::default(), 220, 24);
    assert!(wide[10].starts_with("[2001:db8:1234:5678:9abc:def0:1234:5678]:50000 "), "{}", wide[10]);
    assert!(narrow[10].ends_with("-         -"), "of the first look no rates are known: {}", narrow[10]);
}

#[test]
fn the_help_and_the_docs_have_every_key() {
    let interval = many(3);
    let mut view = View::default();
    for key in ['?', 'h'] {
        press(&mut view, &interval, &[KeyCode::Char(key)]);
        let lines = screen_of(&interval, &mut view, 80, 24);
        for (keys, what) in KEYS {
            let shown = |line: &&String| line.contains(&format!(" {keys} ")) && line.contains(what);
            assert!(lines.iter().any(|line| shown(&line)), "{keys}: {lines:#?}");
        }
        // A key that ends leaves the help first.
        press(&mut view, &interval, &[KeyCode::Char('q')]);
        assert!(view.mode == Mode::Watch && screen_of(&interval, &mut view, 80, 24)[9].starts_with("CLIENT"));
    }
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/flows.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    for (keys, what) in KEYS {
        let keys: Vec<String> = keys.split(' ').map(|key| format!("`{key}`")).collect();
        let row = format!("| {} | {what} |", keys.join(" "));
        assert!(docs.contains(&row), "docs/flows.md lacks the row\n{row}");
    }
}
