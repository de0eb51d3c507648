//! The file around the members, and which members there are.

use std::io::Write as _;

use super::{Case, of_small, sealed, small};
use crate::forge::bundle::{compress, header, sum};

/// A file that holds this tar.
fn tar(name: &str, about: &str, tar: &[u8]) -> Case {
    Case::new(name, about).given("0-5.pef", compress(tar))
}

/// The tar of [`small`]'s bundle with a change to it.
fn changed(name: &str, about: &str, change: impl FnOnce(&mut Vec<u8>)) -> Case {
    let mut bytes = sealed(&small()).tar();
    change(&mut bytes);
    tar(name, about, &bytes)
}

/// Where the header of this member stands.
fn at(tar: &[u8], member: &str) -> usize {
    let name = [member.as_bytes(), b"\0"].concat();
    (0..tar.len()).step_by(512).find(|at| tar[*at..].starts_with(&name)).unwrap()
}

/// A header with another field, and its sum put right.
fn field(tar: &mut [u8], member: &str, offset: usize, text: &[u8]) {
    let start = at(tar, member);
    tar[start + offset..start + offset + text.len()].copy_from_slice(text);
    sum(&mut tar[start..start + 512]);
}

pub(crate) fn cases() -> Vec<Case> {
    let good = sealed(&small()).pef();
    let plain = sealed(&small()).tar();
    let file = |name: &str, about: &str, bytes: &[u8]| Case::new(name, about).given("0-5.pef", bytes.to_vec());
    let mut cases = vec![
        file("forged/e108-empty", "An empty file.", b"").finds("E108"),
        file("forged/e108-not-zstd", "The tar as it is.", &plain).finds("E108"),
        file("forged/e108-after-frame", "A byte after the frame.", &[&good[..], b"x"].concat()).finds("E108"),
        file("forged/e108-second-frame", "A second, empty frame.", &[&good[..], &compress(b"")].concat()).finds("E108"),
        file("forged/e108-content-checksum", "The checksum of the content is another.", &{
            let mut bytes = good.clone();
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        })
        .finds("E108"),
        file("truncated/bundle-checksum", "The last byte of the file is missing.", &good[..good.len() - 1])
            .finds("E108"),
        file("truncated/bundle-magic", "Three bytes are left.", &good[..3]).finds("E108"),
        changed("truncated/tar-one-end-block", "One of the two blocks at the end is missing.", |tar| {
            tar.truncate(tar.len() - 512)
        })
        .finds("E108"),
        changed("truncated/tar-no-end", "Both blocks at the end are missing.", |tar| tar.truncate(tar.len() - 1024))
            .finds("E108"),
        changed("forged/e108-third-end-block", "A third block of zeros.", |tar| tar.resize(tar.len() + 512, 0))
            .finds("E108"),
        changed("forged/e108-end-not-zero", "The second block at the end is not zero.", |tar| {
            *tar.last_mut().unwrap() = 1
        })
        .finds("E108"),
        changed("forged/e108-mode", "A member is executable.", |tar| field(tar, "manifest.json", 100, b"0000755\0"))
            .finds("E108"),
        changed("forged/e108-mtime", "A member has a time.", |tar| field(tar, "manifest.json", 136, b"00000000001\0"))
            .finds("E108"),
        changed("forged/e108-owner", "A member has an owner's name.", |tar| field(tar, "manifest.json", 265, b"root"))
            .finds("E108"),
        changed("forged/e108-link", "A member is a symbolic link.", |tar| field(tar, "manifest.json", 156, b"2"))
            .finds("E108"),
        changed("forged/e108-hard-link", "A member is a hard link.", |tar| field(tar, "manifest.json", 156, b"1"))
            .finds("E108"),
        changed("forged/e108-sum", "The sum of a header is another.", |tar| {
            let start = at(tar, "manifest.json");
            tar[start + 148] ^= 1;
        })
        .finds("E108"),
        changed("forged/e108-padding", "The padding after a member is not zero.", |tar| {
            let start = at(tar, "manifest.dsse.json");
            tar[start - 1] = 1;
        })
        .finds("E108"),
        tar("forged/e107-parent", "A path that leads out.", &end(header("../keys.json", 0))).finds("E107"),
        tar("forged/e107-absolute", "An absolute path.", &end(header("/keys.json", 0))).finds("E107"),
        tar("forged/e107-dot", "A part that is a dot.", &end(header("./keys.json", 0))).finds("E107"),
        tar("forged/e107-empty-part", "An empty part.", &end(header("policies//a.json", 0))).finds("E107"),
        tar("forged/e107-character", "A character that no path has.", &end(header("keys json", 0))).finds("E107"),
        tar("forged/e107-order", "Members out of order.", &end([header("b", 0), header("a", 0)].concat()))
            .finds("E107"),
        tar("forged/e107-twice", "A member twice.", &end([header("a", 0), header("a", 0)].concat())).finds("E107"),
        tar("forged/e106-member", "A member of eight gigabytes is announced.", &header("keys.json", (1 << 33) - 1))
            .finds("E106"),
        tar(
            "forged/e106-members",
            "More members than a bundle may have.",
            &end((0..4097).flat_map(|index| header(&format!("a{index:05}"), 0)).collect()),
        )
        .finds("E106"),
        file("forged/e106-bomb", "Six megabytes of nothing in some hundred bytes.", &{
            let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.window_log(21).unwrap();
            encoder.write_all(&header("keys.json", 6 << 20)).unwrap();
            encoder.write_all(&vec![0; 6 << 20]).unwrap();
            encoder.write_all(&[0; 1024]).unwrap();
            encoder.finish().unwrap()
        })
        .finds("E106"),
        file("forged/e108-window", "The frame wants a window of 8 MiB.", &{
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.window_log(23).unwrap();
            encoder.include_contentsize(false).unwrap();
            encoder.write_all(&plain).unwrap();
            encoder.flush().unwrap();
            encoder.finish().unwrap()
        })
        .finds("E108"),
        of_small("forged/e102-unlisted", "A member that the manifest does not list.", |bundle| {
            bundle.set("notes.txt", b"hello".to_vec());
        })
        .finds("E102"),
        of_small("forged/e101-listed", "The manifest lists a member that is not there.", |bundle| {
            bundle.set("notes.txt", b"hello".to_vec()).reseal().members.remove("notes.txt");
        })
        .finds("E101"),
        of_small("forged/e103-policy", "A member was changed after the manifest was made.", |bundle| {
            bundle.replace("keys.json", "pef.v0", "pef.v0");
            let mut bytes = bundle.get("receipts.jsonl").to_vec();
            bytes.truncate(bytes.len() - 1);
            bytes.push(b'\n');
            bundle.set("receipts.jsonl", bytes);
            bundle.change("manifest.json", |manifest| manifest["files"][0]["size"] = 1.into()).sign();
        })
        .finds("E103"),
        of_small("forged/e103-blake3", "The manifest has another BLAKE3 of a member.", |bundle| {
            bundle.change("manifest.json", |manifest| manifest["files"][0]["blake3"] = "0".repeat(64).into()).sign();
        })
        .finds("E103"),
        of_small("forged/e103-sha256", "The manifest has another SHA-256 of a member.", |bundle| {
            bundle.change("manifest.json", |manifest| manifest["files"][1]["sha256"] = "0".repeat(64).into()).sign();
        })
        .finds("E103"),
        Case::new("forged/e107-directory-name", "In a directory: a file whose name no member can have.")
            .directory("0-5", {
                let mut files = sealed(&small()).directory("0-5");
                files.insert("0-5/a b".into(), Vec::new());
                files
            })
            .finds("E107"),
    ];
    for (member, codes) in [
        ("checkpoint", "E101"),
        ("frontier.json", "E101"),
        ("keys.json", "E101"),
        ("manifest.json", "E101"),
        ("manifest.dsse.json", "E101"),
        ("receipts.jsonl", "E101"),
    ] {
        let name = format!("forged/e101-{}", member.replace('.', "-"));
        let case = of_small(&name, &format!("Without {member}, which the manifest does not list either."), |bundle| {
            bundle.members.remove(member);
            if member != "manifest.json" {
                bundle.reseal();
            }
            if member == "manifest.dsse.json" {
                bundle.members.remove(member);
            }
        });
        cases.push(case.finds(codes));
    }
    let log = super::valid::restarted();
    for member in ["checkpoint.prev", "consistency"] {
        let mut bundle = log.bundle(4, 8);
        bundle.members.remove(member);
        bundle.reseal();
        cases.push(
            Case::new(
                &format!("forged/e101-{}", member.replace('.', "-")),
                &format!("A later bundle without {member}."),
            )
            .bundle("4-8.pef", &bundle)
            .finds("E101"),
        );
    }
    for part in [1, 2, 3] {
        let length = good.len() * part / 4;
        cases.push(
            file(
                &format!("truncated/bundle-{part}-of-4"),
                &format!("The first {part} of 4 parts of a bundle."),
                &good[..length],
            )
            .finds("E108"),
        );
    }
    cases
}

fn end(tar: Vec<u8>) -> Vec<u8> {
    [tar, vec![0; 1024]].concat()
}
