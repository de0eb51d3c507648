//! Threat identifiers: their form, and which of them each class of finding stands for.

use std::collections::BTreeMap;

use crate::model::Threat;

/// Entries in the OWASP lists for language model applications and for agents.
const OWASP_ENTRIES: std::ops::RangeInclusive<u8> = 1..=10;
/// Editions of the OWASP list for language model applications. Their numbers mean different things, so an id needs its year.
const LLM_EDITIONS: [&str; 2] = ["2025", "2026"];
/// Editions of the OWASP list for agentic applications.
const ASI_EDITIONS: [&str; 1] = ["2026"];

/// Classes that detectors make, with the ids that they stand for unless `threat_map` says otherwise.
/// OWASP Top 10 for LLM Applications 2026; MITRE ATLAS content release 2026.04.
pub(crate) const BUILT_IN: [(&str, &str, Option<&str>); 10] = [
    ("exfiltration", "LLM02:2026", Some("AML.T0086")),
    ("indirect_injection", "LLM01:2026", Some("AML.T0051.001")),
    ("jailbreak", "LLM01:2026", Some("AML.T0054")),
    ("pii", "LLM02:2026", Some("AML.T0057")),
    ("prompt_injection", "LLM01:2026", Some("AML.T0051")),
    ("restricted", "LLM02:2026", Some("AML.T0057")),
    ("schema_violation", "LLM10:2026", None),
    ("secret", "LLM02:2026", Some("AML.T0057")),
    ("system_prompt_leak", "LLM08:2026", Some("AML.T0056")),
    ("tool_abuse", "LLM03:2026", Some("AML.T0053")),
];

/// The map that is in force where a policy has no `threat_map`.
pub(crate) fn built_in() -> BTreeMap<String, Threat> {
    BUILT_IN
        .iter()
        .map(|(class, owasp, atlas)| {
            let threat = Threat { owasp: Some((*owasp).to_owned()), atlas: atlas.map(str::to_owned) };
            ((*class).to_owned(), threat)
        })
        .collect()
}

/// Reads an id of either kind.
pub(crate) fn parse(id: &str) -> Result<Threat, String> {
    if id.starts_with("AML.") {
        parse_atlas(id).map(|atlas| Threat { owasp: None, atlas: Some(atlas) })
    } else {
        parse_owasp(id).map(|owasp| Threat { owasp: Some(owasp), atlas: None })
    }
}

/// `LLM01:2026` or `ASI01:2026`.
pub(crate) fn parse_owasp(id: &str) -> Result<String, String> {
    let shown = crate::diagnostic::echo(id);
    let malformed =
        || format!("`{shown}` is not a threat id; write one like `LLM01:2026`, `ASI01:2026` or `AML.T0051`");
    let (number, editions): (&str, &[&str]) = if let Some(rest) = id.strip_prefix("LLM") {
        (rest, &LLM_EDITIONS)
    } else if let Some(rest) = id.strip_prefix("ASI") {
        (rest, &ASI_EDITIONS)
    } else {
        return Err(malformed());
    };
    let (number, year) = number.split_once(':').unwrap_or((number, ""));
    let is_entry = number.len() == 2
        && number.bytes().all(|b| b.is_ascii_digit())
        && number.parse::<u8>().is_ok_and(|entry| OWASP_ENTRIES.contains(&entry));
    if !is_entry {
        return Err(malformed());
    }
    if year.is_empty() {
        return Err(format!(
            "`{id}` has no year, and OWASP renumbers its lists; write `{id}:{}`",
            editions.last().unwrap_or(&"2026")
        ));
    }
    if !editions.contains(&year) {
        return Err(format!("`{shown}` is of an edition that is not known; known: {}", editions.join(", ")));
    }
    Ok(id.to_owned())
}

/// `AML.T0051` or `AML.T0051.001`.
pub(crate) fn parse_atlas(id: &str) -> Result<String, String> {
    let is_digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let is_technique = id.strip_prefix("AML.T").is_some_and(|rest| {
        rest.split_once('.')
            .map_or_else(|| is_digits(rest, 4), |(technique, sub)| is_digits(technique, 4) && is_digits(sub, 3))
    });
    if is_technique {
        Ok(id.to_owned())
    } else {
        let shown = crate::diagnostic::echo(id);
        Err(format!("`{shown}` is not an ATLAS technique; write one like `AML.T0051` or `AML.T0051.001`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owasp_id_needs_its_year() {
        assert!(parse("LLM06:2026").is_ok());
        assert!(parse("LLM06:2025").is_ok());
        assert!(parse("ASI10:2026").is_ok());
        assert_eq!(
            parse("LLM06").unwrap_err(),
            "`LLM06` has no year, and OWASP renumbers its lists; write `LLM06:2026`"
        );
        for bad in [
            "LLM6:2026",
            "LLM11:2026",
            "LLM00:2026",
            "LLM01:2024",
            "ASI01:2025",
            "llm01:2026",
            "LLM01:2026 ",
            "",
            "AML.T51",
            "AML.T0051.1",
            "AML.TA0001",
            "T0051",
            "LLM+1:2026",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("AML.T0051.001").unwrap().atlas.unwrap(), "AML.T0051.001");
    }

    #[test]
    fn every_built_in_id_is_well_formed() {
        for (class, owasp, atlas) in BUILT_IN {
            assert!(parse_owasp(owasp).is_ok(), "{class}");
            assert!(atlas.is_none_or(|atlas| parse_atlas(atlas).is_ok()), "{class}");
        }
    }
}
