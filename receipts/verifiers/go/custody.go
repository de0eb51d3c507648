package pef

import "bytes"

// The custody log of a bundle (SPEC §8): a chain of signed entries about what became of it.

const custodyLineMax = 65_535

var custodyForm = exactly(
	req("action", oneOf("created", "exported", "transferred", "opened", "verified", "redacted")), req("actor", isText),
	req("at", timestampText), req("log", isText), req("manifest", digestText), req("n", decimalText), opt("note", isText),
	req("prev", digestText), opt("sha256", digestText), req("signer", isText), req("v", oneOf(formatVersion)))

// readCustody goes through the entries. broken is the number of the first that is bad, or -1; only an unbroken log has
// redacted anything.
func readCustody(data []byte, log string, manifestDigest digest) (redacted map[string]bool, broken int) {
	redacted = map[string]bool{}
	before := derive(contextCustody, manifestDigest[:])
	for n := 0; len(data) > 0; n++ {
		end := bytes.IndexByte(data, '\n')
		if end < 0 || end > custodyLineMax {
			return nil, n
		}
		line := data[:end]
		data = data[end+1:]
		entry := custodyEntry(line, log)
		if entry == nil {
			return nil, n
		}
		number, _ := entry.decimalOf("n")
		prev, _ := entry.textOf("prev")
		of, _ := entry.textOf("manifest")
		if number != uint64(n) || prev != hexOf(before) || of != hexOf(manifestDigest) {
			return nil, n
		}
		if sha, ok := entry.textOf("sha256"); ok {
			redacted[sha] = true
		}
		before = derive(contextCustody, line)
	}
	return redacted, -1
}

// custodyEntry opens a line that is of its form and signed by its signer.
func custodyEntry(line []byte, log string) *value {
	v, canonical, code := parseJSON(line, smallJSON)
	if code != "" || !canonical {
		return nil
	}
	e, ok := readEnvelope(v)
	if !ok || e.payloadType != typeCustody {
		return nil
	}
	entry, canonical, code := parseJSON(e.payload, smallJSON)
	if code != "" || !canonical || !fits(custodyForm, entry) {
		return nil
	}
	action, _ := entry.textOf("action")
	if (entry.get("sha256") != nil) != (action == "redacted") {
		return nil
	}
	of, _ := entry.textOf("log")
	vkey, _ := entry.textOf("signer")
	signer, ok := parseVKey(vkey, algEd25519)
	if !ok || of != log || weakKey(signer.pub) || hexOf(signer.id) != e.keyID ||
		!signer.verify(pae(typeCustody, e.payload), e.sig) {
		return nil
	}
	return entry
}
