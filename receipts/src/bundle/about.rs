//! What a manifest says for people about the range: who called, how fast it was, which builds and schemas were at work.

use std::collections::BTreeSet;

use super::manifest::count;
use crate::canonical::Value;
use crate::hex;
use crate::receipt::Kind;
use crate::receipt::shape::NAMES_MAX;

/// Longest text in a list: what is longer is no name for people.
const NAME_MAX_BYTES: usize = 256;

/// Different texts, ascending, the first so many of them.
#[derive(Debug, Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn add(&mut self, name: &str) {
        if name.len() <= NAME_MAX_BYTES && !self.0.contains(name) {
            self.0.insert(name.to_owned());
            if self.0.len() > NAMES_MAX {
                self.0.pop_last();
            }
        }
    }

    fn to_value(&self) -> Value {
        Value::Array(self.0.iter().map(|name| Value::from(name.as_str())).collect())
    }
}

/// Durations of which quantiles are given. Eight bytes each, for at most as many outcomes as a bundle holds.
#[derive(Debug, Default)]
struct Durations(Vec<u64>);

impl Durations {
    fn to_value(&self) -> Value {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        // Nearest rank: the least value that so many per cent are not above.
        let quantile = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            count(rank.checked_sub(1).and_then(|at| sorted.get(at)).copied().unwrap_or(0))
        };
        Value::from([("max", quantile(100)), ("p50", quantile(50)), ("p90", quantile(90)), ("p99", quantile(99))])
    }
}

/// Gathered over the receipts of a bundle.
#[derive(Debug, Default)]
pub(super) struct About {
    job_ids: Names,
    pipeline_ids: Names,
    service_ids: Names,
    builds: Names,
    schemas: Names,
    sdks: Names,
    exchanges: u64,
    first_byte_us: Durations,
    total_us: Durations,
}

impl About {
    /// Takes up a receipt.
    pub(super) fn add(&mut self, body: &Value) {
        let text = |path: &[&str]| text(body, path);
        if let Some(version) = text(&["build", "version"]) {
            match text(&["build", "digest"]) {
                Some(digest) => self.builds.add(&format!("{version}+sha256:{digest}")),
                None => self.builds.add(version),
            }
        }
        let lists = [
            (&mut self.job_ids, ["caller", "automation", "job_id"].as_slice()),
            (&mut self.pipeline_ids, &["caller", "automation", "pipeline_id"]),
            (&mut self.service_ids, &["caller", "automation", "service_id"]),
            (&mut self.sdks, &["caller", "sdk"]),
        ];
        for (list, path) in lists {
            if let Some(name) = text(path) {
                list.add(name);
            }
        }
        if let Some(digest) = text(&["schema", "digest"]).filter(|digest| hex::decode_32(digest).is_some()) {
            self.schemas.add(digest);
        }
        if text(&["kind"]) == Some(Kind::Outcome.name()) {
            self.exchanges += 1;
            let number = |name: &str| {
                let number = body.get("upstream")?.get(name)?.as_integer()?;
                u64::try_from(number).ok()
            };
            self.first_byte_us.0.extend(number("first_byte_us"));
            self.total_us.0.extend(number("total_us"));
        }
    }

    /// The manifest's `about`; `worm` are places where the bundle is to be kept.
    pub(super) fn to_value(&self, worm: &[String]) -> Value {
        let mut places = Names::default();
        worm.iter().for_each(|place| places.add(place));
        Value::from([
            (
                "automation",
                Value::from([
                    ("job_ids", self.job_ids.to_value()),
                    ("pipeline_ids", self.pipeline_ids.to_value()),
                    ("service_ids", self.service_ids.to_value()),
                ]),
            ),
            ("builds", self.builds.to_value()),
            (
                "performance",
                Value::from([
                    ("exchanges", count(self.exchanges)),
                    ("first_byte_us", self.first_byte_us.to_value()),
                    ("total_us", self.total_us.to_value()),
                ]),
            ),
            ("schemas", self.schemas.to_value()),
            ("sdks", self.sdks.to_value()),
            ("worm", places.to_value()),
        ])
    }
}

fn text<'v>(value: &'v Value, path: &[&str]) -> Option<&'v str> {
    path.iter().try_fold(value, |value, name| value.get(name))?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let quantiles = |numbers: &[u64]| {
            String::from_utf8(crate::canonical::to_vec(&Durations(numbers.to_vec()).to_value())).unwrap()
        };
        assert_eq!(quantiles(&[]), r#"{"max":0,"p50":0,"p90":0,"p99":0}"#);
        assert_eq!(quantiles(&[7]), r#"{"max":7,"p50":7,"p90":7,"p99":7}"#);
        assert_eq!(quantiles(&[4, 1, 3, 2]), r#"{"max":4,"p50":2,"p90":4,"p99":4}"#);
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(quantiles(&hundred), r#"{"max":100,"p50":50,"p90":90,"p99":99}"#);
    }

    #[test]
    fn lists_are_bounded_and_do_not_depend_on_the_order() {
        let names: Vec<String> = (0..1000).map(|number| format!("n{number:04}")).collect();
        let (mut forward, mut backward) = (Names::default(), Names::default());
        names.iter().for_each(|name| forward.add(name));
        names.iter().rev().for_each(|name| backward.add(name));
        forward.add(&"x".repeat(NAME_MAX_BYTES + 1));
        assert_eq!(forward.to_value(), backward.to_value());
        assert_eq!(forward.0.len(), NAMES_MAX);
    }
}
