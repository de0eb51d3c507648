//! `clyra keys rotate` and `clyra keys revoke`: changes that need the root key, and go on record in the log itself.

use std::path::Path;
use std::sync::Arc;

use clyra_receipts::{Entry, KeyAccess, KeyError, KeyPlace, Keys, SealError};
use serde_json::json;

use super::super::exit::Exit;
use super::super::key_files::KeyFileArgs;
use super::super::offline::{self, Offline};
use super::super::print::{self, DataDir};
use super::{EncryptArgs, access, place};

/// Put a new log key in the place of the old one.
///
/// The root key certifies the new one, old and new vouch for each other in a `key.rotate` receipt, and the old private half
/// is removed. What is not sealed yet is sealed first: trees up to the present size stay with the old key. The sidecar must
/// not be running. Receipt keys need no such care: the sidecar replaces them by itself.
///
/// Example: clyra keys rotate --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    data_dir: DataDir,
    /// Where the new log key's private half is kept: `file`, `age` (encrypted), or the PKCS#11 URI of a key in a token
    #[arg(long, value_name = "PLACE", default_value = "file", value_parser = place)]
    log_key: KeyPlace,
    #[command(flatten)]
    encrypt: EncryptArgs,
    #[command(flatten)]
    key_files: KeyFileArgs,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// Declare that what a key signed from some point on is worth nothing.
///
/// The root key signs the revocation; it is in every trust file and bundle from then on, and a `key.revoke` receipt tells
/// of it. Verification then reports what the key signed later (E305). After the log key, put another in its place with
/// `clyra keys rotate`. The sidecar must not be running.
///
/// Example: clyra keys revoke 5f0c…e1 --last-good-seq 18421 --reason "host was broken into" --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// Id of the key, 64 hexadecimal digits (`clyra keys list --json`)
    #[arg(value_name = "KEY_ID")]
    key_id: String,
    /// Last receipt that the key signed in good order, or `none`
    #[arg(long, value_name = "SEQ", value_parser = last_good)]
    last_good_seq: LastGood,
    /// Why, for people; at most 256 bytes, and on record for ever
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    data_dir: DataDir,
    #[command(flatten)]
    key_files: KeyFileArgs,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// `none` or a number.
#[derive(Debug, Clone, Copy)]
struct LastGood(Option<u64>);

fn last_good(text: &str) -> Result<LastGood, String> {
    match text {
        "none" => Ok(LastGood(None)),
        number => {
            number.parse().map(|seq| LastGood(Some(seq))).map_err(|_| "write a sequence number, or none".to_owned())
        }
    }
}

pub(super) fn rotate(args: &RotateArgs) -> Result<(), Exit> {
    let data_dir = &args.data_dir.path;
    let access: Arc<dyn KeyAccess> = Arc::new(access(&args.key_files, Some(&args.encrypt)));
    // All are sealed first, so that no tree that the key in force has to sign is left to its successor. A revoked key signs
    // nothing more.
    let mut receipts = 0;
    if let Some(mut log) = open(data_dir, &access)? {
        receipts = log.receipts;
        loop {
            match log.seal() {
                Ok(Some(_)) => {}
                Ok(None) | Err(SealError::Keys(KeyError::Revoked { .. })) => break,
                Err(error) => return Err(Exit::usage(error)),
            }
        }
    }
    if receipts == 0 {
        return Err(Exit::usage(
            "the log has no receipts yet; there is nothing that the old key has to keep. Make new keys",
        ));
    }
    let mut keys = Keys::open_public(data_dir).map_err(Exit::usage)?;
    let record = keys.rotate_log(receipts, &args.log_key, &*access).map_err(Exit::usage)?;
    let (old, new) = (record.old.clone(), keys.log().to_vkey());
    // A log that could not be opened under a revoked key tells of the revocation now.
    let revoked = keys.revocation(&old).map(Entry::from);
    let seq = append(data_dir, &keys, access, [Entry::from(record)].into_iter().chain(revoked))?;
    print::result(|out| match args.json {
        true => writeln!(out, "{}", json!({"old": old, "new": new, "valid_from_seq": receipts, "receipt": seq})),
        false => writeln!(out, "{new}"),
    })?;
    print::hint(format_args!(
        "The new log key signs trees of more than {receipts} receipts; receipt {seq} tells of it."
    ));
    Ok(())
}

pub(super) fn revoke(args: &RevokeArgs) -> Result<(), Exit> {
    let data_dir = &args.data_dir.path;
    let access: Arc<dyn KeyAccess> = Arc::new(access(&args.key_files, None));
    // Nobody may be serving the log with the key that is taken away.
    let receipts = open(data_dir, &access)?.map_or(0, |log| log.receipts);
    let mut keys = Keys::open_public(data_dir).map_err(Exit::usage)?;
    let LastGood(last_good_seq) = args.last_good_seq;
    if last_good_seq.is_some_and(|seq| seq >= receipts) {
        return Err(Exit::usage(format!("the log has {receipts} receipts; the last good one cannot be a later one")));
    }
    let record = keys.revoke(&args.key_id, last_good_seq, &args.reason, &*access).map_err(Exit::usage)?;
    if keys.log().id() == args.key_id {
        // The log cannot be opened with a revoked log key: the rotation writes the receipt.
        print::hint("This is the log key in force: put another in its place now with `clyra keys rotate`.");
        return print::result(|out| match args.json {
            true => writeln!(out, "{}", json!({"revoked": record.key_id, "receipt": null})),
            false => writeln!(out, "revoked {}", record.key_id),
        });
    }
    let key_id = record.key_id.clone();
    let seq = append(data_dir, &keys, access, [Entry::from(record)].into_iter())?;
    print::result(|out| match args.json {
        true => writeln!(out, "{}", json!({"revoked": key_id, "receipt": seq})),
        false => writeln!(out, "revoked {key_id}; receipt {seq} tells of it"),
    })
}

/// The log, where there is one yet; fails while a sidecar runs.
fn open(data_dir: &Path, access: &Arc<dyn KeyAccess>) -> Result<Option<Offline>, Exit> {
    if !data_dir.join("journal").is_dir() {
        return Ok(None);
    }
    Offline::open(data_dir, Arc::clone(access), "stop it first").map(Some)
}

/// Puts on record what was changed; gives the number of the first receipt.
fn append(
    data_dir: &Path,
    keys: &Keys,
    access: Arc<dyn KeyAccess>,
    entries: impl Iterator<Item = Entry>,
) -> Result<u64, Exit> {
    offline::append(offline::options(data_dir, keys.origin(), access), entries).map_err(|error| {
        Exit::usage(format!("the key is changed, but the receipt that tells of it was not written: {error}"))
    })
}
