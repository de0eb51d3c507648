//! The stable names of everything that verification can find.

/// One code. The first digit is the phase; `W` codes are about the journal's files and count as phase 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    W001,
    W002,
    W003,
    E101,
    E102,
    E103,
    E104,
    E105,
    E106,
    E107,
    E108,
    E201,
    E202,
    E203,
    E204,
    E205,
    E206,
    E207,
    E301,
    E302,
    E303,
    E304,
    E305,
    E306,
    E307,
    E401,
    E402,
    E403,
    E404,
    E405,
    E501,
    E502,
    E503,
    E504,
    E505,
    E506,
    E507,
    E508,
    E509,
    E510,
    E511,
    E601,
    E602,
    E603,
    E604,
    E605,
    E606,
    E701,
    E702,
    E703,
    E704,
    E705,
    E706,
    E708,
    E801,
    E802,
    E803,
    E804,
    E951,
}

impl Code {
    /// Every code that this version can give.
    pub const ALL: [Code; 59] = [
        Self::W001,
        Self::W002,
        Self::W003,
        Self::E101,
        Self::E102,
        Self::E103,
        Self::E104,
        Self::E105,
        Self::E106,
        Self::E107,
        Self::E108,
        Self::E201,
        Self::E202,
        Self::E203,
        Self::E204,
        Self::E205,
        Self::E206,
        Self::E207,
        Self::E301,
        Self::E302,
        Self::E303,
        Self::E304,
        Self::E305,
        Self::E306,
        Self::E307,
        Self::E401,
        Self::E402,
        Self::E403,
        Self::E404,
        Self::E405,
        Self::E501,
        Self::E502,
        Self::E503,
        Self::E504,
        Self::E505,
        Self::E506,
        Self::E507,
        Self::E508,
        Self::E509,
        Self::E510,
        Self::E511,
        Self::E601,
        Self::E602,
        Self::E603,
        Self::E604,
        Self::E605,
        Self::E606,
        Self::E701,
        Self::E702,
        Self::E703,
        Self::E704,
        Self::E705,
        Self::E706,
        Self::E708,
        Self::E801,
        Self::E802,
        Self::E803,
        Self::E804,
        Self::E951,
    ];

    /// Code and name.
    fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::W001 => ("W001", "TORN_TAIL"),
            Self::W002 => ("W002", "CORRUPT_MIDDLE"),
            Self::W003 => ("W003", "LOST_DURABLE"),
            Self::E101 => ("E101", "MISSING_FILE"),
            Self::E102 => ("E102", "UNEXPECTED_FILE"),
            Self::E103 => ("E103", "FILE_DIGEST"),
            Self::E104 => ("E104", "MANIFEST_NOT_CANONICAL"),
            Self::E105 => ("E105", "VERSION"),
            Self::E106 => ("E106", "LIMIT"),
            Self::E107 => ("E107", "BAD_PATH"),
            Self::E108 => ("E108", "CONTAINER"),
            Self::E201 => ("E201", "JSON"),
            Self::E202 => ("E202", "DUP_KEY"),
            Self::E203 => ("E203", "NOT_CANONICAL"),
            Self::E204 => ("E204", "NUMBER"),
            Self::E205 => ("E205", "UTF8"),
            Self::E206 => ("E206", "SCHEMA"),
            Self::E207 => ("E207", "UNKNOWN_FIELD"),
            Self::E301 => ("E301", "KEY_UNKNOWN"),
            Self::E302 => ("E302", "KEY_ID_MISMATCH"),
            Self::E303 => ("E303", "ALG"),
            Self::E304 => ("E304", "KEY_NOT_VALID_AT_SEQ"),
            Self::E305 => ("E305", "REVOKED"),
            Self::E306 => ("E306", "ROTATION_UNAUTHORISED"),
            Self::E307 => ("E307", "WEAK_KEY"),
            Self::E401 => ("E401", "RECEIPT_SIG"),
            Self::E402 => ("E402", "CHECKPOINT_SIG"),
            Self::E403 => ("E403", "MANIFEST_SIG"),
            Self::E404 => ("E404", "QUORUM"),
            Self::E405 => ("E405", "MALFORMED_NOTE"),
            Self::E501 => ("E501", "SEQ_GAP"),
            Self::E502 => ("E502", "SEQ_DUP"),
            Self::E503 => ("E503", "PREV_MISMATCH"),
            Self::E504 => ("E504", "GENESIS"),
            Self::E505 => ("E505", "ORDER"),
            Self::E506 => ("E506", "TAIL_SHORT"),
            Self::E507 => ("E507", "UNPAIRED_ATTEMPT"),
            Self::E508 => ("E508", "TIME_BACK"),
            Self::E509 => ("E509", "BOOT_DISCONTINUITY"),
            Self::E510 => ("E510", "LOSS_DECLARED"),
            Self::E511 => ("E511", "COUNTS"),
            Self::E601 => ("E601", "ROOT"),
            Self::E602 => ("E602", "INCLUSION"),
            Self::E603 => ("E603", "CONSISTENCY"),
            Self::E604 => ("E604", "ORIGIN"),
            Self::E605 => ("E605", "ROLLBACK"),
            Self::E606 => ("E606", "FORK"),
            Self::E701 => ("E701", "ANCHOR_REQUIRED_MISSING"),
            Self::E702 => ("E702", "TSA_INVALID"),
            Self::E703 => ("E703", "IMPRINT"),
            Self::E704 => ("E704", "ANCHOR_TIME"),
            Self::E705 => ("E705", "OTS_PENDING"),
            Self::E706 => ("E706", "OTS_INVALID"),
            Self::E708 => ("E708", "SPV_INVALID"),
            Self::E801 => ("E801", "ARTIFACT_MISSING"),
            Self::E802 => ("E802", "ARTIFACT_DIGEST"),
            Self::E803 => ("E803", "ARTIFACT_SIZE"),
            Self::E804 => ("E804", "TOMBSTONED"),
            Self::E951 => ("E951", "CUSTODY_BREAK"),
        }
    }

    /// `E401` …
    pub fn code(self) -> &'static str {
        self.parts().0
    }

    /// `RECEIPT_SIG` …
    pub fn name(self) -> &'static str {
        self.parts().1
    }

    /// 0 journal files, 1 container, 2 JSON, 3 keys, 4 signatures, 5 sequence and chain, 6 tree, 7 anchors, 8 artifacts.
    /// 0 journal files, 1 container, 2 JSON, 3 keys, 4 signatures, 5 sequence and chain, 6 tree, 7 anchors,
    /// 8 artifacts, 9 custody.
    pub fn phase(self) -> u8 {
        let digit = self.code().as_bytes().get(1).map_or(0, |digit| digit.saturating_sub(b'0'));
        if self.code().starts_with('W') { 0 } else { digit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(code.code(), format!("{code:?}"));
        }
        assert_eq!((Code::W002.phase(), Code::E103.phase(), Code::E606.phase()), (0, 1, 6));
    }
}
