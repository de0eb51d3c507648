//! Signs a group of receipts, on several cores when it is large: the chain does not cover signatures, so their order is free.

use std::sync::{Arc, Mutex};

use super::sequence::Placed;
use crate::dsse;
use crate::keys::ReceiptKey;
use crate::receipt::RECEIPT_PAYLOAD_TYPE;

/// A thread is started for signing from this many receipts on: below, starting it costs as much as it saves.
const SIGN_PER_THREAD: usize = 24;

/// Signs with at most so many threads.
pub(super) fn sign(key: &ReceiptKey, receipts: &mut [Placed], threads: usize) {
    let sign = |part: &mut [Placed]| {
        for placed in part {
            placed.signature = dsse::sign(&key.private, RECEIPT_PAYLOAD_TYPE, &placed.body);
        }
    };
    let parts = (receipts.len() / SIGN_PER_THREAD).clamp(1, threads.max(1));
    let size = receipts.len().div_ceil(parts).max(1);
    std::thread::scope(|scope| {
        let mut parts = receipts.chunks_mut(size);
        let mine = parts.next();
        let mut refused = Vec::new();
        for part in parts {
            // The closure owns the part; keep a way to it in case no thread can be had.
            let slot = Arc::new(Mutex::new(Some(part)));
            let theirs = Arc::clone(&slot);
            let spawned = std::thread::Builder::new().name("clyra-sign".into()).spawn_scoped(scope, move || {
                let part = theirs.lock().ok().and_then(|mut part| part.take());
                part.map(sign);
            });
            if spawned.is_err() {
                refused.push(slot);
            }
        }
        mine.map(sign);
        for slot in refused {
            let part = slot.lock().ok().and_then(|mut part| part.take());
            part.map(sign);
        }
    });
}
