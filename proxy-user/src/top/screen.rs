//! What the screen shows: sums, the path hop by hop, the flows.

use proxy_common::flow::{Direction, Forward, Hop};
use proxy_plane::flows::{State, Stream};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Row, Table},
};

use super::{
    keys::{Sort, View},
    path::{HopSum, Path},
    rates::{Interval, Rated},
    terminal::{LEAST_HEIGHT, LEAST_WIDTH},
    units::{fit, rate, time},
};

/// Lines of one hop: the drawing, flows, bytes, times, path, and one to keep apart.
const HOP_HEIGHT: u16 = 6;
const HELP: &str = "q quit  Tab in/outbound  w workload  s sort  space pause";

pub(super) fn draw(frame: &mut Frame<'_>, interval: &Interval, view: &View) {
    let area = frame.area();
    if area.width < LEAST_WIDTH || area.height < LEAST_HEIGHT {
        let text = format!(
            "{}x{} is too small: enlarge the terminal to {LEAST_WIDTH}x{LEAST_HEIGHT}, or q to quit",
            area.width, area.height
        );
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let path = Path::of(interval, view.direction, view.workload.as_deref());
    let blocks = u16::try_from(path.second.len().max(1)).unwrap_or(1);
    let [title, sums, hops, list, help] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(HOP_HEIGHT * blocks),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(heading(interval, view), title);
    frame.render_widget(totals(interval, view), sums);
    draw_path(frame, hops, &path);
    draw_list(frame, list, &view.list(interval));
    frame.render_widget(Paragraph::new(HELP).style(Style::new().add_modifier(Modifier::DIM)), help);
}

fn heading(interval: &Interval, view: &View) -> Paragraph<'static> {
    let workload = view.workload.as_deref().unwrap_or("all workloads");
    let sort = match view.sort {
        Sort::Rate => "rate",
        Sort::Total => "total",
        Sort::Newest => "newest",
    };
    let paused = if view.paused { "  PAUSED" } else { "" };
    let lost = if interval.lost > 0 { format!("  {} records lost", interval.lost) } else { String::new() };
    Paragraph::new(format!("sidestep flows  {workload}  by {sort}{paused}{lost}"))
        .style(Style::new().add_modifier(Modifier::REVERSED))
}

/// All directions in one line, as a check on what the path leaves out.
fn totals(interval: &Interval, view: &View) -> Paragraph<'static> {
    let flows = view.list(interval);
    let live = flows.iter().filter(|rated| rated.flow.state == State::Live).count();
    let sum =
        |of: fn(&Rated) -> u64| interval.seconds.map(|s| flows.iter().map(|r| of(r)).sum::<u64>() as f64 / s);
    let opened = interval.seconds.map(|s| flows.iter().filter(|rated| rated.new).count() as f64 / s);
    Paragraph::new(format!(
        "{live} flows, {} new/s, {} up, {} down on all hops",
        opened.map_or("-".to_owned(), |opened| format!("{opened:.1}")),
        rate(sum(|rated| rated.up.total())),
        rate(sum(|rated| rated.down.total())),
    ))
}

/// The first hop on the left; what follows it on the right, one below the other.
fn draw_path(frame: &mut Frame<'_>, area: Rect, path: &Path) {
    let [left, right] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(area);
    let width = usize::from(left.width);
    let inbound = path.direction == Direction::Inbound;
    let (first, name) = if inbound {
        (["client", "eth0", ":15006"], "inbound")
    } else {
        (["app", "lo", ":15001"], "outbound")
    };
    frame.render_widget(hop(&first, &path.first, name, width), left);
    if path.second.is_empty() {
        let text = if inbound { "sidecar (no connection to the app)" } else { "sidecar (no connection out)" };
        frame.render_widget(Paragraph::new(text), right);
        return;
    }
    let rows = Layout::vertical(path.second.iter().map(|_| Constraint::Length(HOP_HEIGHT))).split(right);
    for ((forward, sum), row) in path.second.iter().zip(rows.iter()) {
        let (nodes, name) = match (inbound, forward) {
            (true, Some(Forward::Lo)) => (["sidecar", "lo", "app"], "to the app, mode lo"),
            (true, Some(Forward::Eth0)) => (["sidecar", "eth0", "app"], "to the app, mode eth0"),
            (true, Some(Forward::Tproxy)) => (["sidecar", "tproxy", "app"], "to the app, as the client"),
            (true, None) => (["sidecar", "?", "app"], "to the app"),
            (false, _) => (["sidecar", "eth0", "world"], "upstream"),
        };
        frame.render_widget(hop(&nodes, sum, name, width), *row);
    }
}

/// A hop: heavy lines and green where it is redirected, thin and yellow where the stack carries it.
fn hop(nodes: &[&str; 3], sum: &HopSum, name: &str, width: usize) -> Paragraph<'static> {
    let redirected = sum.share.percent().is_some_and(|percent| percent >= 50);
    let (line, color) = if redirected { ("━", Color::Green) } else { ("─", Color::Yellow) };
    let text: usize = nodes.iter().map(|node| node.len()).sum();
    // Two arrows, each with its head and a space on both sides.
    let arrow = width.saturating_sub(text + 7) / 2;
    let arrow = format!(" {}> ", line.repeat(arrow.saturating_sub(1)));
    let way = Span::styled(arrow, Style::new().fg(color));
    let drawing = Line::from(vec![
        Span::raw(nodes[0].to_owned()),
        way.clone(),
        Span::raw(nodes[1].to_owned()),
        way,
        Span::raw(nodes[2].to_owned()),
    ]);
    let opened = sum.opened.map_or("-".to_owned(), |opened| format!("{opened:.1}"));
    let how = match (sum.share.percent(), sum.reason) {
        (None, _) if sum.share.elsewhere > 0 => "one end elsewhere: nothing to skip".to_owned(),
        (None, _) => "no bytes yet".to_owned(),
        (Some(percent), Some(reason)) if sum.share.stacked > 0 => {
            format!("redirected {percent} %, stack: {}", reason.name())
        }
        (Some(percent), _) => format!("redirected {percent} %"),
    };
    let lines = [
        format!("{name}: {} flows, {opened} new/s", sum.live),
        format!("up {}  down {}  rtt {}", rate(sum.up), rate(sum.down), time(sum.rtt_us)),
        format!("connect {}  accepted after {}", time(sum.connect_us), time(sum.hand_off_us)),
        how,
    ];
    let details = lines.iter().map(|text| Line::raw(fit(text, width.saturating_sub(1))));
    Paragraph::new([drawing].into_iter().chain(details).collect::<Vec<_>>())
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, flows: &[&Rated]) {
    let wide = usize::from(area.width.saturating_sub(LEAST_WIDTH)) / 2;
    let address = 21 + wide;
    let rows = flows.iter().take(usize::from(area.height)).map(|rated| {
        let flow = &rated.flow;
        let hop = match (flow.hop, flow.forward) {
            (Hop::Inner, Some(forward)) => forward.name(),
            (hop, _) => hop.name(),
        };
        let closed = flow.state == State::Closed;
        let row = Row::new([
            fit(&flow.client.to_string(), address),
            fit(&flow.original_destination.to_string(), address),
            fit(hop, 8),
            fit(way(&flow.upload, &flow.download), 5),
            if closed { "closed".to_owned() } else { amount(rated.up.total()) },
            if closed {
                flow.close.map_or("", |close| close.name()).to_owned()
            } else {
                amount(rated.down.total())
            },
        ]);
        if closed { row.style(Style::new().add_modifier(Modifier::DIM)) } else { row }
    });
    let length = |at: usize| Constraint::Length(u16::try_from(at).unwrap_or(u16::MAX));
    let widths = [length(address), length(address), length(8), length(5), length(9), length(9)];
    let header = Row::new(["CLIENT", "DESTINATION", "HOP", "PATH", "UP", "DOWN"]);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Table::new(rows, widths).column_spacing(1).header(header.style(bold)), area);
}

/// Bytes of an interval of about a second.
fn amount(bytes: u64) -> String {
    rate(Some(bytes as f64)).trim_end_matches("/s").to_owned()
}

fn way(upload: &Stream, download: &Stream) -> &'static str {
    match proxy_plane::flows::Path::of(upload, download) {
        proxy_plane::flows::Path::Redirected => "redir",
        proxy_plane::flows::Path::Stacked => "stack",
        proxy_plane::flows::Path::Mixed => "mixed",
    }
}
