//! Charts, as SVG by hand: grouped bars and curves are all there is.

use std::fmt::Write;

use crate::measured::{Measured, Metric};
use crate::mode::Mode;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 60.0;
const HEIGHT: f64 = 360.0;
/// Slanted names of the cases.
const BELOW: f64 = 130.0;

const TEXT: &str = "font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\"";

/// What a mode looks like.
pub(crate) fn colour(mode: Mode) -> &'static str {
    match mode {
        Mode::None => "#bbbbbb",
        Mode::IptablesLegacy => "#e8a838",
        Mode::IptablesNft => "#d1495b",
        Mode::SidestepNoaccel => "#8fb8de",
        Mode::Sidestep => "#1f6fb2",
    }
}

/// A drawing with a title and a legend.
pub(crate) fn open(title: &str, legend: &[(String, &'static str)], height: f64) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" {TEXT} font-weight=\"bold\">{title}</text>\n"
    );
    let mut x = LEFT;
    for (name, colour) in legend {
        writeln!(out, "<rect x=\"{x}\" y=\"34\" width=\"12\" height=\"12\" fill=\"{colour}\"/>").ok();
        writeln!(out, "<text x=\"{}\" y=\"44\" {TEXT}>{name}</text>", x + 16.0).ok();
        x += 40.0 + 7.0 * name.len() as f64;
    }
    out
}

/// A horizontal line of the grid, with its value.
fn grid(out: &mut String, y: f64, label: &str, strong: bool) {
    let colour = if strong { "#666" } else { "#ddd" };
    writeln!(out, "<path d=\"M{LEFT} {y:.1}H{WIDTH}\" stroke=\"{colour}\"/>").ok();
    let (x, y) = (LEFT - 6.0, y + 4.0);
    writeln!(out, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\" {TEXT}>{label}</text>").ok();
}

/// Requests per second of every case and mode, relative to the baseline; a thin line spans the rounds.
pub(crate) fn bars(measured: &Measured) -> String {
    let Some(base) = measured.baseline else { return String::new() };
    let modes: Vec<Mode> = measured
        .cases
        .first()
        .map_or_else(Vec::new, |case| case.modes.iter().map(|measured| measured.mode).collect());
    let ratio =
        |case: &crate::measured::MeasuredCase, mode| case.ratio(Metric::RequestsPerSecond, mode, base);
    let highest = measured
        .cases
        .iter()
        .flat_map(|case| modes.iter().filter_map(|mode| Some(ratio(case, *mode)?.max)))
        .fold(2.0, f64::max);
    let top = (highest * 2.0).ceil() / 2.0;
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / top);
    let legend: Vec<_> = modes.iter().map(|mode| (mode.name().to_owned(), colour(*mode))).collect();
    let title =
        format!("requests per second relative to {} (medians; lines: range over rounds)", base.name());
    let mut out = open(&title, &legend, TOP + HEIGHT + BELOW);
    let mut value = 0.0;
    while value <= top {
        grid(&mut out, y(value), &format!("{value:.1}"), value == 1.0);
        value += 0.5;
    }
    let group = (WIDTH - LEFT) / measured.cases.len().max(1) as f64;
    let bar = group * 0.8 / modes.len().max(1) as f64;
    for (index, case) in measured.cases.iter().enumerate() {
        let left = LEFT + group * (index as f64 + 0.1);
        for (number, mode) in modes.iter().enumerate() {
            let Some(summary) = ratio(case, *mode) else { continue };
            let x = left + bar * number as f64;
            let (tall, fill) = (y(0.0) - y(summary.median), colour(*mode));
            let start = y(summary.median);
            writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{start:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" fill=\"{fill}\"/>",
                bar * 0.92
            )
            .ok();
            let (middle, low, high) = (x + bar * 0.46, y(summary.min), y(summary.max));
            writeln!(out, "<path d=\"M{middle:.1} {low:.1}V{high:.1}\" stroke=\"#333\"/>").ok();
        }
        let (x, y) = (left + group * 0.4, TOP + HEIGHT + 14.0);
        let turned = format!("transform=\"rotate(-35 {x:.1} {y:.1})\"");
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\" {turned} {TEXT}>{}</text>",
            case.name
        )
        .ok();
    }
    out.push_str("</svg>\n");
    out
}

/// A named line of `(x, y)` points.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) colour: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Curves with both axes logarithmic, from the decade below the least to the one above the most.
pub(crate) fn curves(title: &str, x_title: &str, curves: &[Curve]) -> String {
    let decades = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) =
            values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        (low.max(1e-3).log10().floor(), high.max(1e-2).log10().ceil())
    };
    let (x0, x1) = decades(&mut curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.0)));
    let (y0, y1) = decades(&mut curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1)));
    let right = WIDTH - LEFT - 40.0;
    let x = |value: f64| LEFT + 20.0 + right * (value.log10() - x0) / (x1 - x0).max(1.0);
    let y = |value: f64| TOP + HEIGHT * (1.0 - (value.max(1e-3).log10() - y0) / (y1 - y0).max(1.0));
    let legend: Vec<_> = curves.iter().map(|curve| (curve.name.clone(), curve.colour)).collect();
    let mut out = open(title, &legend, TOP + HEIGHT + 50.0);
    for decade in y0 as i32..=y1 as i32 {
        let value = 10f64.powi(decade);
        grid(&mut out, y(value), &format!("{value}"), decade == y0 as i32);
    }
    for decade in x0 as i32..=x1 as i32 {
        let value = 10f64.powi(decade);
        let (at, below) = (x(value), TOP + HEIGHT + 18.0);
        writeln!(out, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\" {TEXT}>{value}</text>").ok();
    }
    let (middle, below) = (LEFT + right / 2.0, TOP + HEIGHT + 38.0);
    writeln!(out, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\" {TEXT}>{x_title}</text>").ok();
    for curve in curves {
        let path: Vec<String> =
            curve.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>",
            path.join(" "),
            curve.colour
        )
        .ok();
        for point in &curve.points {
            let (cx, cy) = (x(point.0), y(point.1));
            writeln!(out, "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{}\"/>", curve.colour).ok();
        }
    }
    out.push_str("</svg>\n");
    out
}
