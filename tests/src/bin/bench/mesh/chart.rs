//! CPU per request of every load and way, as SVG.

use std::fmt::Write as _;

use super::results::{Line, Results};
use super::way::{Way, Work};
use crate::spread::Spread;
use crate::svg::{self, HEIGHT, LEFT, TEXT, TOP, WIDTH};

const HIGHEST: f64 = 1.25;

/// Bars relative to iptables, with what a request costs there in absolute terms below; a thin line spans the quartiles.
pub(crate) fn draw(results: &Results) -> String {
    let legend: Vec<_> = Way::ALL.iter().map(|way| (way.name().to_owned(), way.colour())).collect();
    let title = "Real Istio, mutual TLS: CPU per request of both pods, iptables = 1 (less is better)";
    let mut out = svg::open(title, &legend, TOP + HEIGHT + 50.0);
    for quarter in 0..=5 {
        let value = f64::from(quarter) / 4.0;
        svg::grid(&mut out, y(value), &format!("{value:.2}"), quarter == 4);
    }
    let group = (WIDTH - LEFT) / Work::ALL.len() as f64;
    let width = group * 0.84 / Way::ALL.len() as f64;
    for (index, work) in Work::ALL.into_iter().enumerate() {
        let left = LEFT + group * (index as f64 + 0.08);
        for (number, way) in Way::ALL.into_iter().enumerate() {
            let line = results.lines.iter().find(|line| line.work == work && line.way == way);
            if let Some(share) = line.and_then(|line| line.cpu_share_of_base) {
                bar(&mut out, left + width * number as f64, width, share, way);
            }
        }
        let is_base = |line: &&Line| line.work == work && line.way == Way::BASE;
        let cost = results.lines.iter().find(is_base).and_then(|line| line.cpu_us_per_request);
        let cost = cost.map_or_else(String::new, |cost| format!("iptables: {:.0} us", cost.median));
        let middle = left + group * 0.42;
        for (below, text) in [(18.0, work.name()), (36.0, cost.as_str())] {
            let y = TOP + HEIGHT + below;
            writeln!(out, "<text x=\"{middle:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" {TEXT}>{text}</text>")
                .ok();
        }
    }
    out.push_str("</svg>\n");
    out
}

fn y(value: f64) -> f64 {
    TOP + HEIGHT * (1.0 - value.min(HIGHEST) / HIGHEST)
}

fn bar(out: &mut String, x: f64, width: f64, share: Spread, way: Way) {
    let (start, fill, broad) = (y(share.median), way.colour(), width * 0.92);
    let tall = y(0.0) - start;
    writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{start:.1}\" width=\"{broad:.1}\" height=\"{tall:.1}\" fill=\"{fill}\"/>"
    )
    .ok();
    let (middle, low, high) = (x + broad / 2.0, y(share.lower), y(share.upper));
    writeln!(out, "<path d=\"M{middle:.1} {low:.1}V{high:.1}\" stroke=\"#333\"/>").ok();
    if way != Way::BASE {
        let above = high.min(start) - 4.0;
        let text = format!("text-anchor=\"middle\" {TEXT}");
        writeln!(out, "<text x=\"{middle:.1}\" y=\"{above:.1}\" {text}>{:.2}</text>", share.median).ok();
    }
}
