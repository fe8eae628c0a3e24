//! What the screen shows: sums, the path hop by hop, the flows.

use proxy_common::flow::{Direction, Forward};
use proxy_plane::flows::State;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph, Row, Table},
};

use super::{
    keys::{KEYS, Mode, View},
    list::{self, Columns, Listed},
    path::{HopSum, Path},
    rates::{Interval, Rated},
    terminal::{LEAST_HEIGHT, LEAST_WIDTH},
    units::{fit, rate, time},
};
use crate::units::fit_end;

/// Lines of one hop: the drawing, flows, bytes, times, path, and one to keep apart.
const HOP_HEIGHT: u16 = 6;
const HELP: &str = "q quit  ? keys  / filter  s order  Tab in/outbound  space pause";
const TYPING: &str = "  Enter keeps them, Esc drops them";

/// What is shown of the list is remembered in the view, for the keys that scroll it.
pub(super) fn draw(frame: &mut Frame<'_>, interval: &Interval, view: &mut View) {
    let area = frame.area();
    if area.width < LEAST_WIDTH || area.height < LEAST_HEIGHT {
        let text = format!(
            "{}x{} is too small: enlarge the terminal to {LEAST_WIDTH}x{LEAST_HEIGHT}, or Ctrl-C to end",
            area.width, area.height
        );
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let path = Path::of(interval, view.direction, view.workload.as_deref());
    let blocks = u16::try_from(path.second.len().max(1)).unwrap_or(1);
    let [title, sums, hops, below, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(HOP_HEIGHT * blocks),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    let flows = list::of(interval, view);
    // A line is the head's.
    view.rows = usize::from(below.height.saturating_sub(1)).max(1);
    view.first = view.first.min(flows.len().saturating_sub(view.rows));
    frame.render_widget(heading(interval, view, usize::from(area.width)), title);
    frame.render_widget(totals(interval, &flows, !view.filter.is_empty()), sums);
    draw_path(frame, hops, &path);
    draw_list(frame, below, interval, &flows, view);
    draw_foot(frame, foot, flows.len(), view);
    if view.mode == Mode::Help {
        draw_help(frame, area);
    }
}

/// What is left out comes last, and is cut where there is no room.
fn heading(interval: &Interval, view: &View, width: usize) -> Paragraph<'static> {
    let mut parts = vec![
        "sidestep flows".to_owned(),
        view.workload.as_deref().unwrap_or("all workloads").to_owned(),
        format!("by {}{}", view.sort.name(), if view.reversed { ", least first" } else { "" }),
    ];
    if view.paused {
        parts.push("PAUSED".to_owned());
    }
    if interval.lost > 0 {
        parts.push(format!("{} records lost", interval.lost));
    }
    if !view.filter.is_empty() {
        parts.push(format!("/{}", view.filter));
    }
    if !view.given.is_empty() {
        parts.push(view.given.clone());
    }
    Paragraph::new(fit(&parts.join("  "), width)).style(Style::new().add_modifier(Modifier::REVERSED))
}

/// All directions in one line, as a check on what the path leaves out; of the flows of the list.
fn totals(interval: &Interval, flows: &[Listed<'_>], filtered: bool) -> Paragraph<'static> {
    let live = flows.iter().filter(|of| of.rated.flow.state == State::Live).count();
    let sum = |of: fn(&Rated) -> u64| {
        interval.seconds.map(|s| flows.iter().map(|flow| of(flow.rated)).sum::<u64>() as f64 / s)
    };
    let opened = interval.seconds.map(|s| flows.iter().filter(|of| of.rated.new).count() as f64 / s);
    Paragraph::new(format!(
        "{live} flows{}, {} new/s, {} up, {} down on all hops",
        if filtered { " match" } else { "" },
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

fn draw_list(frame: &mut Frame<'_>, area: Rect, interval: &Interval, flows: &[Listed<'_>], view: &View) {
    let columns = Columns::within(usize::from(area.width), view.sort);
    let rows = flows.iter().skip(view.first).take(view.rows).map(|of| {
        let row = Row::new(columns.row(of, interval.seconds));
        let closed = of.rated.flow.state == State::Closed;
        if closed { row.style(Style::new().add_modifier(Modifier::DIM)) } else { row }
    });
    let widths = columns.widths().map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
    let header = Row::new(columns.head()).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(rows, widths).column_spacing(1).header(header), area);
}

/// The keys, and where in the list this is; or the filter while it is typed.
fn draw_foot(frame: &mut Frame<'_>, area: Rect, flows: usize, view: &View) {
    let last = flows.min(view.first + view.rows);
    let place =
        if flows == 0 { "no flow".to_owned() } else { format!("{}-{last} of {flows}", view.first + 1) };
    let [left, right] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(u16::try_from(place.len()).unwrap_or(0))])
            .areas(area);
    let dim = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Paragraph::new(place).style(dim), right);
    if view.mode != Mode::Type {
        frame.render_widget(Paragraph::new(HELP).style(dim), left);
        return;
    }
    // The end of what is typed stays in sight.
    let room = usize::from(left.width).saturating_sub(TYPING.len() + 2);
    let typed = format!("/{}", fit_end(&view.filter, room));
    let at = u16::try_from(typed.chars().count()).unwrap_or(u16::MAX);
    frame.render_widget(Line::from(vec![Span::raw(typed), Span::styled(TYPING, dim)]), left);
    frame.set_cursor_position((left.x.saturating_add(at).min(left.right()), left.y));
}

/// Over everything else.
fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let height = u16::try_from(KEYS.len()).unwrap_or(u16::MAX).saturating_add(2);
    let area = area.centered(Constraint::Length(LEAST_WIDTH), Constraint::Length(height));
    let lines = KEYS.map(|(keys, what)| Line::raw(format!(" {keys:<13}{what}")));
    let block = Block::bordered().title(" Keys, and the next one leaves this ");
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines.to_vec()).block(block), area);
}
