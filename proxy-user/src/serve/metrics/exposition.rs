//! The two text formats of the page.
//!
//! prometheus-client writes OpenMetrics. Prometheus' own older format, which promtool reads and other collectors know,
//! differs in its comment lines only: the type belongs to the series (`x_total`, `x_info`), units and the end mark are
//! unknown.

use std::{fmt, fmt::Write as _, sync::Arc};

use prometheus_client::encoding::text;

use super::{Snapshot, registry};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    OpenMetrics,
    Prometheus,
}

impl Format {
    /// What the client's `Accept` prefers; the older format where it does not say.
    pub fn preferred(accept: Option<&str>) -> Self {
        let (mut open, mut plain) = (0.0, 0.0);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            match media.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => open = quality.max(open),
                "text/plain" | "text/*" | "*/*" => plain = quality.max(plain),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The page.
pub fn render(seen: &Arc<Snapshot>, format: Format) -> Result<String, fmt::Error> {
    let mut page = String::new();
    text::encode(&mut page, &registry(seen))?;
    match format {
        Format::OpenMetrics => Ok(page),
        Format::Prometheus => to_prometheus(&page),
    }
}

fn to_prometheus(page: &str) -> Result<String, fmt::Error> {
    let mut out = String::with_capacity(page.len());
    let mut help = "";
    for line in page.lines() {
        // HELP comes first, but only TYPE tells the name.
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            let help = help.strip_prefix(name).unwrap_or_default();
            writeln!(out, "# HELP {name}{suffix}{help}\n# TYPE {name}{suffix} {kind}")?;
        } else if !line.starts_with('#') {
            writeln!(out, "{line}")?;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing(None, Format::Prometheus)]
    #[case::curl(Some("*/*"), Format::Prometheus)]
    #[case::prometheus(
        Some(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ),
        Format::OpenMetrics
    )]
    #[case::browser(Some("text/html,application/xhtml+xml,*/*;q=0.8"), Format::Prometheus)]
    #[case::plain_preferred(Some("application/openmetrics-text;q=0.3, text/plain"), Format::Prometheus)]
    #[case::not_wanted(Some("application/openmetrics-text;q=0"), Format::Prometheus)]
    fn the_client_chooses(#[case] accept: Option<&str>, #[case] format: Format) {
        assert_eq!(Format::preferred(accept), format);
    }

    #[test]
    fn types_and_help_belong_to_the_series() {
        let open = "# HELP a_x about x\n# TYPE a_x counter\n# UNIT a_x seconds\na_x_total{b=\"# c\"} 1\n\
                    # HELP a_build it\n# TYPE a_build info\na_build_info{v=\"1\"} 1\n# EOF\n";
        let plain = "# HELP a_x_total about x\n# TYPE a_x_total counter\na_x_total{b=\"# c\"} 1\n\
                     # HELP a_build_info it\n# TYPE a_build_info gauge\na_build_info{v=\"1\"} 1\n";
        assert_eq!(to_prometheus(open).unwrap(), plain);
    }
}
