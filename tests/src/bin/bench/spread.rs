//! Medians and quartiles over turns.

use serde::Serialize;

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (values.len().saturating_sub(1) as f64 * share).round() as usize;
            values.get(index).copied().unwrap_or(f64::NAN)
        };
        Self { median: at(0.5), lower: at(0.25), upper: at(0.75) }
    }

    /// None without values.
    pub(crate) fn of_any(values: Vec<f64>) -> Option<Self> {
        (!values.is_empty()).then(|| Self::of(values))
    }
}

/// Milliseconds of many turns.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) spread: Spread,
    pub(crate) p99: f64,
}

impl Times {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = (values.len().saturating_sub(1) as f64 * 0.99).ceil() as usize;
        Self { p99: values.get(at).copied().unwrap_or(f64::NAN), spread: Spread::of(values) }
    }
}
