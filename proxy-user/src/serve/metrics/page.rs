//! Samples, written family by family.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder, MetricEncoder,
    NoLabelSet,
};

use super::family::{Family, Kind};

/// What the sources write to.
#[derive(Debug)]
pub struct Page<'a>(DescriptorEncoder<'a>);

/// The samples of one family. Label values come in the order of [`Family::labels`]; an empty one is left out.
#[derive(Debug)]
pub struct Samples<'a> {
    family: &'static Family,
    encoder: MetricEncoder<'a>,
}

impl<'a> Page<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    pub fn family(&mut self, family: &'static Family) -> Result<Samples<'_>, fmt::Error> {
        let (unit, kind) = (family.unit.as_ref(), family.kind.metric_type());
        let encoder = self.0.encode_descriptor(family.name, family.help, unit, kind)?;
        Ok(Samples { family, encoder })
    }
}

impl Samples<'_> {
    pub fn count(&mut self, labels: &[&str], count: u64) -> fmt::Result {
        let labels = self.labels(Kind::Counter, labels);
        if labels.names.is_empty() {
            return self.encoder.encode_counter::<NoLabelSet, _, f64>(&count, None);
        }
        self.encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&count, None)
    }

    /// A counter of seconds.
    pub fn total(&mut self, labels: &[&str], total: f64) -> fmt::Result {
        let labels = self.labels(Kind::Counter, labels);
        self.encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&total, None)
    }

    pub fn gauge(&mut self, labels: &[&str], value: f64) -> fmt::Result {
        let labels = self.labels(Kind::Gauge, labels);
        if labels.names.is_empty() {
            return self.encoder.encode_gauge(&value);
        }
        self.encoder.encode_family(&labels)?.encode_gauge(&value)
    }

    pub fn info(&mut self, labels: &[&str]) -> fmt::Result {
        let labels = self.labels(Kind::Info, labels);
        self.encoder.encode_info(&labels)
    }

    /// `buckets`: upper bounds, rising, the last one `f64::MAX`, and how many fell between it and the one before.
    fn histogram(&mut self, labels: &[&str], sum: f64, buckets: &[(f64, u64)]) -> fmt::Result {
        let labels = self.labels(Kind::Histogram, labels);
        let count = buckets.iter().map(|(_, count)| count).sum();
        self.encoder.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }

    /// The same of buckets that are too many. `ends`: upper bounds, and how many of them lie below each; what lies above all
    /// is one more.
    pub fn coarser(
        &mut self,
        labels: &[&str],
        sum: f64,
        fine: &[u64],
        ends: impl IntoIterator<Item = (f64, usize)>,
    ) -> fmt::Result {
        let mut from = 0;
        let mut buckets = Vec::new();
        for (bound, end) in ends.into_iter().chain([(f64::MAX, fine.len())]) {
            buckets.push((bound, fine[from..end].iter().sum()));
            from = end;
        }
        self.histogram(labels, sum, &buckets)
    }

    fn labels<'v>(&self, kind: Kind, values: &'v [&'v str]) -> Labels<'v> {
        let name = self.family.name;
        assert_eq!(kind, self.family.kind, "{name} is written as another kind");
        assert_eq!(values.len(), self.family.labels.len(), "{name} has other labels");
        Labels { names: self.family.labels, values }
    }
}

struct Labels<'a> {
    names: &'static [&'static str],
    values: &'a [&'a str],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.names.iter().zip(self.values).filter(|(_, value)| !value.is_empty()) {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(name)?;
            let mut text = key.encode_label_value()?;
            Escaped(value).encode(&mut text)?;
            text.finish()?;
        }
        Ok(())
    }
}

/// prometheus-client writes label values as they are.
struct Escaped<'a>(&'a str);

impl EncodeLabelValue for Escaped<'_> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => encoder.write_str(r"\\"),
            '"' => encoder.write_str("\\\""),
            '\n' => encoder.write_str(r"\n"),
            other => encoder.write_char(other),
        })
    }
}
