//! Which cosignatures are enough: C2SP tlog-policy. Its `log` lines are checked for their form and mean nothing here, because
//! whose log it is the root key says.

use std::collections::{BTreeMap, BTreeSet};

use super::WitnessKey;
use crate::checkpoint::SignedNote;
use crate::keys::PublicKey;

/// Longest policy: a hundred witnesses with URLs and comments.
pub const POLICY_MAX_BYTES: usize = 64 * 1024;

/// Most witnesses and groups together. C2SP asks for at least 32 of each; a note has at most 100 signatures.
const NAMES_MAX: usize = 256;

/// A policy that cannot be used. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("line {line}: {what}")]
    Line { line: usize, what: &'static str },
    #[error("there is no `quorum` line")]
    NoQuorum,
    #[error("longer than {POLICY_MAX_BYTES} bytes")]
    TooLong,
}

#[derive(Debug, Clone)]
enum Member {
    Witness(Box<WitnessKey>),
    Group { threshold: usize, members: Vec<String> },
}

/// A rule for cosignatures.
#[derive(Debug, Clone)]
pub struct WitnessPolicy {
    members: BTreeMap<String, Member>,
    /// In the order of definition, so that a group comes after its members.
    order: Vec<String>,
    /// `None`: none is needed.
    quorum: Option<String>,
}

impl WitnessPolicy {
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > POLICY_MAX_BYTES {
            return Err(PolicyError::TooLong);
        }
        let mut policy = Self { members: BTreeMap::new(), order: Vec::new(), quorum: None };
        let (mut has_quorum, mut used, mut keys, mut logs) = (false, BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let fault = |what| PolicyError::Line { line: at + 1, what };
            if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
                return Err(fault("a control character"));
            }
            // Names are opaque bytes; a vkey is ASCII, and so every other byte can stand for itself in a lossless way.
            let line: String = line.iter().map(|byte| char::from(*byte)).collect();
            let items: Vec<&str> = line.split([' ', '\t']).filter(|item| !item.is_empty()).collect();
            match items.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", vkey] | ["log", vkey, _] => {
                    let key = PublicKey::from_vkey(vkey).map_err(|_| fault("not the verifier key of a log"))?;
                    if !logs.insert(*key.as_bytes()) {
                        return Err(fault("this log's key stands twice"));
                    }
                }
                ["witness", name, vkey] | ["witness", name, vkey, _] => {
                    let key = WitnessKey::from_vkey(vkey);
                    let key = key.map_err(|_| fault("not the verifier key of a witness (type 0x04)"))?;
                    if !keys.insert(*key.as_bytes()) {
                        return Err(fault("this witness's key stands twice"));
                    }
                    policy.define(name, Member::Witness(Box::new(key))).map_err(fault)?;
                }
                ["group", name, threshold, members @ ..] => {
                    for member in members {
                        if !policy.members.contains_key(*member) {
                            return Err(fault("a member that is not defined above"));
                        }
                        if !used.insert((*member).to_owned()) {
                            return Err(fault("a member that is in a group already"));
                        }
                    }
                    let threshold = match *threshold {
                        "any" => 1,
                        "all" => members.len(),
                        number => crate::receipt::parse_decimal(number)
                            .and_then(|number| usize::try_from(number).ok())
                            .ok_or_else(|| fault("neither `any` nor `all` nor a number"))?,
                    };
                    if threshold == 0 || threshold > members.len() {
                        return Err(fault("a number that is not from 1 to that of the members"));
                    }
                    let members = members.iter().map(|member| (*member).to_owned()).collect();
                    policy.define(name, Member::Group { threshold, members }).map_err(fault)?;
                }
                ["quorum", name] => {
                    if has_quorum {
                        return Err(fault("a second `quorum` line"));
                    }
                    has_quorum = true;
                    if *name != "none" {
                        if !policy.members.contains_key(*name) {
                            return Err(fault("a quorum that is not defined above"));
                        }
                        policy.quorum = Some((*name).to_owned());
                    }
                }
                _ => return Err(fault("neither `log`, `witness`, `group` nor `quorum` in its form")),
            }
        }
        if has_quorum { Ok(policy) } else { Err(PolicyError::NoQuorum) }
    }

    fn define(&mut self, name: &str, member: Member) -> Result<(), &'static str> {
        if name == "none" || self.members.contains_key(name) {
            return Err("a name that is taken");
        }
        if self.members.len() >= NAMES_MAX {
            return Err("more witnesses and groups than are supported");
        }
        self.order.push(name.to_owned());
        self.members.insert(name.to_owned(), member);
        Ok(())
    }

    /// The witnesses that it knows.
    pub fn witnesses(&self) -> impl Iterator<Item = &WitnessKey> {
        self.members.values().filter_map(|member| match member {
            Member::Witness(key) => Some(&**key),
            Member::Group { .. } => None,
        })
    }

    /// Whether the good cosignatures of a note satisfy the quorum. Those that are wrong count for nothing.
    pub fn is_met(&self, note: &SignedNote) -> bool {
        let mut met = BTreeSet::new();
        for name in &self.order {
            let holds = match self.members.get(name) {
                Some(Member::Witness(key)) => key.verify(note).is_ok_and(|cosignature| cosignature.is_some()),
                Some(Member::Group { threshold, members }) => {
                    members.iter().filter(|member| met.contains(*member)).count() >= *threshold
                }
                None => false,
            };
            if holds {
                met.insert(name);
            }
        }
        self.quorum.as_ref().is_none_or(|quorum| met.contains(quorum))
    }
}
