package pef

import (
	"cmp"
	"slices"
)

// The codes of SPEC §9 and the list of findings: sorted, without repetition, and bounded.

const (
	codeTornTail     = "W001"
	codeCorrupt      = "W002"
	codeLostDurable  = "W003"
	codeMissingFile  = "E101"
	codeUnexpected   = "E102"
	codeFileDigest   = "E103"
	codeManifestForm = "E104"
	codeVersion      = "E105"
	codeLimit        = "E106"
	codeBadPath      = "E107"
	codeContainer    = "E108"
	codeJSON         = "E201"
	codeDupKey       = "E202"
	codeNotCanonical = "E203"
	codeNumber       = "E204"
	codeUTF8         = "E205"
	codeSchema       = "E206"
	codeUnknownField = "E207"
	codeKeyUnknown   = "E301"
	codeKeyID        = "E302"
	codeAlg          = "E303"
	codeKeyRange     = "E304"
	codeRevoked      = "E305"
	codeRotation     = "E306"
	codeWeakKey      = "E307"
	codeReceiptSig   = "E401"
	codeNoteSig      = "E402"
	codeManifestSig  = "E403"
	codeQuorum       = "E404"
	codeMalformed    = "E405"
	codeSeqGap       = "E501"
	codeSeqDup       = "E502"
	codePrev         = "E503"
	codeGenesis      = "E504"
	codeOrder        = "E505"
	codeTailShort    = "E506"
	codeUnpaired     = "E507"
	codeTimeBack     = "E508"
	codeBoot         = "E509"
	codeLoss         = "E510"
	codeCounts       = "E511"
	codeRoot         = "E601"
	codeInclusion    = "E602"
	codeConsistency  = "E603"
	codeOrigin       = "E604"
	codeRollback     = "E605"
	codeFork         = "E606"
	codeAnchorFile   = "E701"
	codeTSA          = "E702"
	codeImprint      = "E703"
	codeAnchorTime   = "E704"
	codeOTSPending   = "E705"
	codeOTSInvalid   = "E706"
	codeSPVInvalid   = "E708"
	codeArtifact     = "E801"
	codeArtDigest    = "E802"
	codeArtSize      = "E803"
	codeTombstoned   = "E804"
	codeCustody      = "E951"
)

var codeNames = map[string]string{
	codeTornTail: "TORN_TAIL", codeCorrupt: "CORRUPT_MIDDLE", codeLostDurable: "LOST_DURABLE",
	codeMissingFile: "MISSING_FILE", codeUnexpected: "UNEXPECTED_FILE", codeFileDigest: "FILE_DIGEST",
	codeManifestForm: "MANIFEST_NOT_CANONICAL", codeVersion: "VERSION", codeLimit: "LIMIT", codeBadPath: "BAD_PATH",
	codeContainer: "CONTAINER", codeJSON: "JSON", codeDupKey: "DUP_KEY", codeNotCanonical: "NOT_CANONICAL",
	codeNumber: "NUMBER", codeUTF8: "UTF8", codeSchema: "SCHEMA", codeUnknownField: "UNKNOWN_FIELD",
	codeKeyUnknown: "KEY_UNKNOWN", codeKeyID: "KEY_ID_MISMATCH", codeAlg: "ALG", codeKeyRange: "KEY_NOT_VALID_AT_SEQ",
	codeRevoked: "REVOKED", codeRotation: "ROTATION_UNAUTHORISED", codeWeakKey: "WEAK_KEY",
	codeReceiptSig: "RECEIPT_SIG", codeNoteSig: "CHECKPOINT_SIG", codeManifestSig: "MANIFEST_SIG",
	codeQuorum: "QUORUM", codeMalformed: "MALFORMED_NOTE", codeSeqGap: "SEQ_GAP", codeSeqDup: "SEQ_DUP",
	codePrev: "PREV_MISMATCH", codeGenesis: "GENESIS", codeOrder: "ORDER", codeTailShort: "TAIL_SHORT",
	codeUnpaired: "UNPAIRED_ATTEMPT", codeTimeBack: "TIME_BACK", codeBoot: "BOOT_DISCONTINUITY",
	codeLoss: "LOSS_DECLARED", codeCounts: "COUNTS", codeRoot: "ROOT", codeInclusion: "INCLUSION",
	codeConsistency: "CONSISTENCY", codeOrigin: "ORIGIN", codeRollback: "ROLLBACK", codeFork: "FORK",
	codeAnchorFile: "ANCHOR_REQUIRED_MISSING", codeTSA: "TSA_INVALID", codeImprint: "IMPRINT",
	codeAnchorTime: "ANCHOR_TIME", codeOTSPending: "OTS_PENDING", codeOTSInvalid: "OTS_INVALID",
	codeSPVInvalid: "SPV_INVALID", codeArtifact: "ARTIFACT_MISSING", codeArtDigest: "ARTIFACT_DIGEST",
	codeArtSize: "ARTIFACT_SIZE", codeTombstoned: "TOMBSTONED", codeCustody: "CUSTODY_BREAK",
}

// Severity says whether a finding makes evidence bad.
type Severity string

// The two severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that was found: a stable code, where, and how bad.
type Finding struct {
	Code     string
	Severity Severity
	// Seq is the sequence number that the finding is about; it means something only when HasSeq.
	Seq    uint64
	HasSeq bool
	Path   string
}

// Name is the word for the code.
func (f *Finding) Name() string { return codeNames[f.Code] }

// FindingsMax is how many findings a verdict keeps (SPEC §9).
const FindingsMax = 10_000

// phase orders codes: W first, then E1 to E9.
func phase(code string) byte {
	if code[0] == 'E' {
		return code[1]
	}
	return 0
}

func compareFindings(a, b *Finding) int {
	sequence := func(f *Finding) int {
		if f.HasSeq {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(phase(a.Code), phase(b.Code)),
		cmp.Compare(sequence(a), sequence(b)),
		cmp.Compare(a.Seq, b.Seq),
		cmp.Compare(a.Code, b.Code),
		cmp.Compare(a.Path, b.Path),
		cmp.Compare(a.Severity, b.Severity),
	)
}

// findings collects. It holds at most twice FindingsMax distinct ones and drops the later half when it is full, which
// keeps exactly the first by order; met counts how often each that is held came up.
type findings struct {
	met     map[Finding]uint64
	dropped uint64
	errors  bool
}

func (l *findings) add(f Finding) {
	if f.Severity == Error {
		l.errors = true
	}
	if l.met == nil {
		l.met = make(map[Finding]uint64)
	}
	l.met[f]++
	if len(l.met) >= 2*FindingsMax {
		l.sorted()
	}
}

// sorted gives the first FindingsMax by order and forgets the others.
func (l *findings) sorted() []Finding {
	all := make([]Finding, 0, len(l.met))
	for f := range l.met {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b Finding) int { return compareFindings(&a, &b) })
	if len(all) > FindingsMax {
		for _, f := range all[FindingsMax:] {
			l.dropped += l.met[f]
			delete(l.met, f)
		}
		all = all[:FindingsMax]
	}
	return all
}
