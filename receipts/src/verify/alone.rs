//! What can be said of a receipt by itself: JSON, spelling, form, leaf hash, chain value, signature.
//!
//! That is nearly all of the work, and no receipt needs another for it, so a batch is done on all cores. What is found is
//! told in the order of the receipts all the same.

use std::num::NonZero;

use super::Code;
use super::report::json_fault;
use crate::canonical::{JsonFault, Limits, Value, is_canonical, parse};
use crate::dsse::{Envelope, envelope, pae};
use crate::hex;
use crate::journal::{Chain, ChainValue};
use crate::keys::{ALG, Lookup, TrustFile};
use crate::receipt::{BODY_MAX_BYTES, Kind, RECEIPT_PAYLOAD_TYPE, parse_decimal, shape};
use crate::tree::{Hash, leaf_hash};

/// Most receipts that are read ahead, and most bytes of them: enough to keep the cores busy between two rounds, and little
/// even when every byte becomes a JSON value.
pub(super) const BATCH_RECEIPTS: usize = 512;
pub(super) const BATCH_BYTES: usize = 1024 * 1024;

/// Most threads. More than this wait for the reader.
const THREADS_MAX: usize = 16;

/// Fewest receipts that are worth a thread of their own.
const THREAD_RECEIPTS: usize = 16;

/// A receipt as it comes out of its input.
#[derive(Debug)]
pub(super) enum Raw {
    /// A line of `receipts.jsonl`, without its newline.
    Line(Vec<u8>),
    /// Body and signature out of a frame. The leaf is that of the envelope that a bundle would hold.
    Frame { body: Vec<u8>, signature: Vec<u8> },
}

/// Something wrong with a receipt, told with its number as soon as that is known.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) pointer: Option<String>,
    pub(super) detail: &'static str,
}

/// A receipt that was looked at by itself.
#[derive(Debug)]
pub(super) struct Alone {
    pub(super) leaf: Hash,
    pub(super) faults: Vec<Fault>,
    /// Its own number, as far as that could be read.
    pub(super) seq: Option<u64>,
    /// The key that it names.
    pub(super) key_id: Option<String>,
    /// Whether the signature is that key's; `None` where the key is not to be looked at.
    pub(super) signed: Option<bool>,
    /// What takes a place in the log; `None` without a readable body, kind, number or chain value.
    pub(super) placed: Option<Placed>,
}

/// A receipt that can be put in its place.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) body: Value,
    pub(super) kind: Kind,
    pub(super) seq: u64,
    pub(super) prev: ChainValue,
    pub(super) chain: ChainValue,
    /// True when the body has the form of its kind.
    pub(super) formed: bool,
}

impl Placed {
    pub(super) fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A text of its `event`.
    pub(super) fn event(&self, name: &str) -> Option<&str> {
        self.body.get("event")?.get(name)?.as_str()
    }
}

/// Looks at each receipt of a batch, on as many cores as there are, while this thread does something else.
pub(super) fn look_at<T>(batch: &[Raw], trust: Option<&TrustFile>, meanwhile: impl FnOnce() -> T) -> (Vec<Alone>, T) {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    let share = batch.len().div_ceil(cores).max(THREAD_RECEIPTS);
    let look = |raws: &[Raw]| {
        let chain = Chain::default();
        raws.iter().map(|raw| look(raw, trust, &chain)).collect::<Vec<_>>()
    };
    if batch.len() <= share {
        return (look(batch), meanwhile());
    }
    std::thread::scope(|scope| {
        let work = batch.chunks(share).map(|raws| {
            // Where the system has no thread to give, or one fails, the work is done here.
            (raws, std::thread::Builder::new().spawn_scoped(scope, move || look(raws)))
        });
        let work: Vec<_> = work.collect();
        let other = meanwhile();
        let done = work.into_iter().flat_map(|(raws, thread)| {
            let done = thread.ok().and_then(|thread| thread.join().ok());
            done.unwrap_or_else(|| look(raws))
        });
        (done.collect(), other)
    })
}

/// Looks at one receipt.
pub(super) fn look(raw: &Raw, trust: Option<&TrustFile>, chain: &Chain) -> Alone {
    match raw {
        Raw::Line(line) => look_at_line(line, trust, chain),
        Raw::Frame { body, signature } => {
            let mut alone = look_at_body(body, signature, None, trust, chain);
            // Whatever stands in the place of a key id is in the envelope as it is.
            let key_id = alone.key_id.clone().unwrap_or_default();
            let signature = signature.as_slice().try_into().unwrap_or([0; 64]);
            let payload_type = RECEIPT_PAYLOAD_TYPE.to_owned();
            let envelope = match hex::decode_32(&key_id) {
                Some(_) => envelope(RECEIPT_PAYLOAD_TYPE, body, &key_id, &signature),
                None => Envelope { payload_type, payload: body.clone(), key_id, signature }.to_bytes(),
            };
            alone.leaf = leaf_hash(&envelope);
            alone
        }
    }
}

fn look_at_line(line: &[u8], trust: Option<&TrustFile>, chain: &Chain) -> Alone {
    let leaf = leaf_hash(line);
    let value = match parse(line, Limits::RECEIPT) {
        Ok(value) => value,
        Err(error) => return Alone::unreadable(leaf, vec![Fault::json(error.fault)]),
    };
    let mut faults = Vec::new();
    if !is_canonical(line, &value) {
        faults.push(Fault::new(Code::E203, "the envelope is not canonical JSON"));
    }
    let envelope = Envelope::from_value(&value).filter(|envelope| envelope.payload_type == RECEIPT_PAYLOAD_TYPE);
    let Some(envelope) = envelope else {
        faults.push(Fault::new(Code::E206, "not a DSSE envelope of a receipt with one signature"));
        return Alone::unreadable(leaf, faults);
    };
    let mut alone = look_at_body(&envelope.payload, &envelope.signature, Some(&envelope.key_id), trust, chain);
    alone.leaf = leaf;
    alone.faults.append(&mut faults);
    alone
}

/// All but the leaf.
fn look_at_body(
    bytes: &[u8],
    signature: &[u8],
    outer_key: Option<&str>,
    trust: Option<&TrustFile>,
    chain: &Chain,
) -> Alone {
    // Less than a document of this class may have: an envelope has to hold it.
    let limits = Limits { bytes_max: BODY_MAX_BYTES, ..Limits::RECEIPT };
    let body = match parse(bytes, limits) {
        Ok(body) => body,
        Err(error) => return Alone::unreadable(Hash::default(), vec![Fault::json(error.fault)]),
    };
    let mut alone = Alone::unreadable(Hash::default(), Vec::new());
    if !is_canonical(bytes, &body) {
        alone.faults.push(Fault::new(Code::E203, "the body is not canonical JSON"));
    }
    let form = shape::check_receipt(&body);
    let formed = form.is_empty();
    alone.faults.extend(form.into_iter().map(Fault::form));
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let seq = text("seq").and_then(parse_decimal);
    alone.seq = seq;
    if let Some(key_id) = text("key_id") {
        if outer_key.is_some_and(|outer| outer != key_id) {
            alone.faults.push(Fault::new(Code::E302, "envelope and body name different keys"));
        }
        if text("alg").is_some_and(|alg| alg != ALG) {
            alone.faults.push(Fault::new(Code::E303, "an algorithm other than ed25519"));
        } else {
            alone.signed = trust.filter(|trust| trust.holds).map(|trust| is_signed(key_id, bytes, signature, trust));
        }
        alone.key_id = Some(key_id.to_owned());
    }
    let kind = text("kind").and_then(Kind::from_name);
    let prev = text("prev").and_then(hex::decode_32);
    if let (Some(kind), Some(seq), Some(prev)) = (kind, seq, prev) {
        alone.placed = Some(Placed { kind, seq, prev, chain: chain.value(seq, bytes), formed, body });
    }
    alone
}

/// True for a good signature of this key, whether or not the key is valid at the receipt's place.
fn is_signed(key_id: &str, body: &[u8], signature: &[u8], trust: &TrustFile) -> bool {
    match trust.receipt_key(key_id, 0) {
        Lookup::Unknown => false,
        Lookup::Valid(key) | Lookup::OutOfRange(key) | Lookup::Revoked(key) => {
            signature.try_into().is_ok_and(|signature| key.verify(&pae(RECEIPT_PAYLOAD_TYPE, body), signature))
        }
    }
}

impl Alone {
    fn unreadable(leaf: Hash, faults: Vec<Fault>) -> Self {
        Self { leaf, faults, seq: None, key_id: None, signed: None, placed: None }
    }
}

impl Fault {
    fn new(code: Code, detail: &'static str) -> Self {
        Self { code, pointer: None, detail }
    }

    fn json(fault: JsonFault) -> Self {
        let (code, detail) = json_fault(fault);
        Self::new(code, detail)
    }

    pub(super) fn form(fault: shape::ShapeFault) -> Self {
        let (code, detail) = if fault.unknown {
            (Code::E207, "an unknown member")
        } else {
            (Code::E206, "missing or not of the form that it must have")
        };
        Self { code, pointer: Some(fault.pointer), detail }
    }
}
