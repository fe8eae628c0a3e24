//! Charts, as SVG by hand: grouped bars and curves are all there is.

use std::fmt::Write;

use crate::measured::{Measured, Metric};
use crate::mode::Mode;
use crate::summary::Summary;

pub(crate) const WIDTH: f64 = 1000.0;
pub(crate) const LEFT: f64 = 60.0;
pub(crate) const TOP: f64 = 60.0;
pub(crate) const HEIGHT: f64 = 360.0;
/// Slanted names of the cases.
const BELOW: f64 = 130.0;

/// Taller bars are cut off: without a sidecar anything is possible, and it is not what is compared.
const HIGHEST: f64 = 3.5;

pub(crate) const TEXT: &str = "font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\"";

/// What a mode looks like.
pub(crate) fn colour(mode: Mode) -> &'static str {
    match mode {
        Mode::None => "#bbbbbb",
        Mode::IptablesLegacy => "#e8a838",
        Mode::IptablesNft => "#d1495b",
        Mode::SidestepNoaccel => "#8fb8de",
        Mode::SidestepUnobserved => "#5b9bd5",
        Mode::SidestepFollowed => "#3f7fc0",
        Mode::SidestepInstalled => "#2f8f6f",
        Mode::SidestepSends => "#5fb89a",
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
pub(crate) fn grid(out: &mut String, y: f64, label: &str, strong: bool) {
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
    let legend: Vec<_> = modes.iter().map(|mode| (mode.name().to_owned(), colour(*mode))).collect();
    let title =
        format!("requests per second relative to {} (medians; lines: range over rounds)", base.name());
    let mut out = open(&title, &legend, TOP + HEIGHT + BELOW);
    for half in 0..=(2.0 * HIGHEST) as u32 {
        let value = f64::from(half) / 2.0;
        grid(&mut out, bar_y(value), &format!("{value:.1}"), half == 2);
    }
    let group = (WIDTH - LEFT) / measured.cases.len().max(1) as f64;
    let width = group * 0.8 / modes.len().max(1) as f64;
    for (index, case) in measured.cases.iter().enumerate() {
        let left = LEFT + group * (index as f64 + 0.1);
        for (number, mode) in modes.iter().enumerate() {
            let Some(ratio) = case.ratio(Metric::RequestsPerSecond, *mode, base) else { continue };
            bar(&mut out, left + width * number as f64, width, ratio, *mode);
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

fn bar_y(value: f64) -> f64 {
    TOP + HEIGHT * (1.0 - value.min(HIGHEST) / HIGHEST)
}

fn bar(out: &mut String, x: f64, width: f64, ratio: Summary, mode: Mode) {
    let (start, fill) = (bar_y(ratio.median), colour(mode));
    let (tall, broad) = (bar_y(0.0) - start, width * 0.92);
    let size = format!("width=\"{broad:.1}\" height=\"{tall:.1}\"");
    writeln!(out, "<rect x=\"{x:.1}\" y=\"{start:.1}\" {size} fill=\"{fill}\"/>").ok();
    let (middle, low, high) = (x + width * 0.46, bar_y(ratio.min), bar_y(ratio.max));
    writeln!(out, "<path d=\"M{middle:.1} {low:.1}V{high:.1}\" stroke=\"#333\"/>").ok();
    if mode == Mode::Sidestep {
        let above = high.min(start) - 4.0;
        let text = format!("text-anchor=\"middle\" {TEXT}");
        writeln!(out, "<text x=\"{middle:.1}\" y=\"{above:.1}\" {text}>{:.2}</text>", ratio.median).ok();
    }
}

/// A named line of `(x, y)` points.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) colour: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Curves over a logarithmic x axis, from 0 upwards.
pub(crate) fn curves(title: &str, x_title: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let decades = points().map(|(x, _)| x.log10().ceil()).fold(1.0, f64::max);
    let top = (points().map(|(_, y)| y).fold(1.0, f64::max) / 10.0).ceil() * 10.0;
    let right = WIDTH - LEFT - 60.0;
    let x = |value: f64| LEFT + 20.0 + right * value.log10() / decades;
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / top);
    let legend: Vec<_> = curves.iter().map(|curve| (curve.name.clone(), curve.colour)).collect();
    let mut out = open(title, &legend, TOP + HEIGHT + 50.0);
    for step in 0..=5 {
        let value = top * f64::from(step) / 5.0;
        grid(&mut out, y(value), &format!("{value:.0}"), step == 0);
    }
    for decade in 0..=decades as i32 {
        let value = 10f64.powi(decade);
        let (at, below) = (x(value), TOP + HEIGHT + 18.0);
        writeln!(out, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\" {TEXT}>{value}</text>").ok();
    }
    let (middle, below) = (LEFT + right / 2.0, TOP + HEIGHT + 38.0);
    writeln!(out, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\" {TEXT}>{x_title}</text>").ok();
    for Curve { colour, points, .. } in curves {
        let path: Vec<String> =
            points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let (path, stroke) = (path.join(" "), format!("stroke=\"{colour}\" stroke-width=\"2\""));
        writeln!(out, "<polyline points=\"{path}\" fill=\"none\" {stroke}/>").ok();
        for point in points {
            let (cx, cy) = (x(point.0), y(point.1));
            writeln!(out, "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{colour}\"/>").ok();
        }
    }
    out.push_str("</svg>\n");
    out
}
