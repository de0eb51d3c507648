//! From the text of policy.yaml to a checked [`Policy`]: each section in a module of its own, every mistake reported at its place.

mod callers;
mod detectors;
mod files;
mod rules;
mod schemas;
mod settings;
mod threats;

use std::path::Path;

use crate::diagnostic::{Code, PolicyError, Report};
use crate::expr::Compiler;
use crate::policy::{Document, Policy};
use crate::read::{Fields, Keys};
use crate::yaml;

pub(crate) use schemas::SchemaFiles;

/// Bytes of policy.yaml; hundreds of rules fit into a tenth of it.
const POLICY_BYTES_MAX: usize = 1024 * 1024;

const TOP_LEVEL: Keys = Keys {
    known: &[
        "version",
        "metadata",
        "mode",
        "defaults",
        "callers",
        "detectors",
        "schemas",
        "rules",
        "exceptions",
        "threat_map",
    ],
    unsupported: &["include", "upstreams_allowed", "budgets", "shadow", "prices", "tests", "require_tests", "paranoia"],
};

impl Policy {
    /// Reads a policy and the schema files that it names. Their paths are relative to the policy's directory and may not
    /// leave it.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let name = path.display().to_string();
        let text = files::read_text(path, POLICY_BYTES_MAX)
            .map_err(|(code, message)| PolicyError::file(code, &name, message))?;
        let directory = files::directory_of(path);
        Self::parse(&text, &name, &|relative: &str| files::read_below(directory, relative))
    }

    /// Reads a policy from memory. `name` is what error messages call it; `files` gives the text of a file by its path
    /// relative to the policy (never absolute, never with `..`), or says in words why it cannot.
    pub fn parse(text: &str, name: &str, files: &dyn Fn(&str) -> Result<String, String>) -> Result<Self, PolicyError> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(PolicyError::file(
                Code::TooLarge,
                name,
                format!("the policy is over {POLICY_BYTES_MAX} bytes"),
            ));
        }
        let mut report = Report::new(name, text);
        let node = match yaml::parse(text) {
            Ok(node) => node,
            Err(malformed) => {
                report.add(malformed.code, malformed.at, "", malformed.message);
                return Err(report.into_error());
            }
        };
        let document = document(&node, name, files, &mut report);
        if report.is_clean() { Ok(Self::new(document)) } else { Err(report.into_error()) }
    }
}

/// Reads all sections, so that one run reports the mistakes of all of them.
fn document(
    node: &yaml::Node,
    name: &str,
    files: &dyn Fn(&str) -> Result<String, String>,
    report: &mut Report<'_>,
) -> Document {
    let mut document = Document::empty(name);
    let Some(top) = Fields::open(node, "", TOP_LEVEL, report) else {
        return document;
    };
    settings::read(&top, &mut document, report);
    document.callers = callers::read(&top, report);
    detectors::read(&top, &mut document, report);
    threats::read(&top, &mut document.threats, report);

    let mut compiler = Compiler::default();
    let mut schema_files = SchemaFiles::new(files);
    let schemas = schemas::read(&top, document.defaults.stream, &mut schema_files, &mut compiler, report);
    let rules = rules::read(&top, &mut compiler, report);
    let exceptions = rules::read_exceptions(&top, &rules, &mut compiler, report);
    let mut programs = compiler.compile(report);
    if report.is_clean() {
        document.schemas = schemas::finish(schemas, &mut programs);
        document.rules = rules::finish(rules, &mut programs);
        document.exceptions = rules::finish_exceptions(exceptions, &mut programs);
    }
    document
}

/// Every key that is read, and every one that is refused as unsupported, for the check that the manual names it.
#[cfg(test)]
pub(crate) fn vocabulary() -> (Vec<&'static str>, Vec<&'static str>) {
    let all = [
        &[TOP_LEVEL][..],
        &settings::KEYS,
        &callers::KEYS,
        &detectors::KEYS,
        &schemas::KEYS,
        &rules::KEYS,
        &threats::KEYS,
    ];
    let all = || all.iter().copied().flatten();
    (all().flat_map(|keys| keys.known).copied().collect(), all().flat_map(|keys| keys.unsupported).copied().collect())
}

#[cfg(test)]
mod tests;
