package pef

import (
	"path/filepath"
	"strings"
)

// Proofs that one receipt is in the tree (C2SP tlog-proof), and that one event of a stream was released (SPEC §7, §9).

const (
	proofEnding      = ".tlog-proof"
	eventProofEnding = ".event-proof"
	proofMagic       = "c2sp.org/tlog-proof@v1"
	proofBytesMax    = 73_728
	// A path in a tree of less than 2^64 leaves.
	proofPathMax = 64
)

var eventProofForm = exactly(
	req("event", decimalText), req("events", decimalText), req("keys", anyValue), req("leaf", digestText),
	req("path", listOf(digestText)), req("proof", isText), req("receipt", anyValue), req("v", oneOf(formatVersion)))

// tlogProof is a proof as it was read; the checkpoint is not looked at yet.
type tlogProof struct {
	index uint64
	path  []digest
	note  []byte
}

func parseTlogProof(data []byte) (p tlogProof, ok bool) {
	if len(data) > proofBytesMax {
		return p, false
	}
	rest, ok := strings.CutPrefix(string(data), proofMagic+"\n")
	if !ok {
		return p, false
	}
	line, after, ok := strings.Cut(rest, "\n")
	if extra, isExtra := strings.CutPrefix(line, "extra "); ok && isExtra {
		if _, good := parseBase64(extra); !good {
			return p, false
		}
		line, after, ok = strings.Cut(after, "\n")
	}
	number, isIndex := strings.CutPrefix(line, "index ")
	if !ok || !isIndex {
		return p, false
	}
	if p.index, ok = parseDecimal(number); !ok {
		return p, false
	}
	// The path ends at the first empty line.
	hashes := after
	if strings.HasPrefix(after, "\n") {
		hashes, after = "", after[1:]
	} else if end := strings.Index(after, "\n\n"); end >= 0 {
		hashes, after = after[:end+1], after[end+2:]
	} else {
		return p, false
	}
	if p.path, ok = hashLines(hashes); !ok || len(p.path) > proofPathMax {
		return p, false
	}
	p.note = []byte(after)
	return p, true
}

func (v *verification) verifyProof(in input) {
	stem := strings.TrimSuffix(in.path, proofEnding)
	receiptPath := strings.TrimSuffix(in.name, proofEnding) + ".receipt.json"
	t := v.companionTrust(filepath.Dir(in.path))
	p := v.readProofFile(in)
	envelope, err := readBounded(stem+".receipt.json", envelopeBytesMax)
	if err != nil {
		v.report(codeMissingFile, receiptPath)
	}
	lone := &loneReceipt{v: v, t: t, path: receiptPath}
	if p != nil {
		lone.seq = p.index
	}
	if err == nil {
		lone.read(envelope)
	}
	v.checkProof(p, t, lone, in.name)
}

// companionTrust reads the trust file beside a proof.
func (v *verification) companionTrust(dir string) *trust {
	const path = "keys.json"
	data, err := readBounded(filepath.Join(dir, path), largeJSON.bytes)
	if err != nil {
		v.report(codeMissingFile, path)
		return nil
	}
	t, codes := readTrust(data)
	for _, code := range codes {
		v.report(code, path)
	}
	if t != nil {
		v.useTrust(t, path)
	}
	return t
}

func (v *verification) readProofFile(in input) *tlogProof {
	data, err := readBounded(in.path, proofBytesMax)
	switch {
	case err != nil:
		v.report(codeMissingFile, in.name)
		return nil
	case len(data) > proofBytesMax:
		v.report(codeLimit, in.name)
		return nil
	}
	return v.openProof(data, in.name)
}

func (v *verification) openProof(data []byte, path string) *tlogProof {
	if len(data) > proofBytesMax {
		v.report(codeLimit, path)
		return nil
	}
	p, ok := parseTlogProof(data)
	if !ok {
		v.report(codeMalformed, path)
		return nil
	}
	return &p
}

// checkProof checks the checkpoint of a proof, and the way from the receipt to it.
func (v *verification) checkProof(p *tlogProof, t *trust, lone *loneReceipt, path string) {
	if p == nil {
		return
	}
	c := v.meetCheckpoint(p.note, t, path, true)
	if lone.body == nil {
		return
	}
	good := true
	if seq, known := lone.body.decimalOf("seq"); known && seq != p.index {
		good = false
	}
	if c != nil && !verifyInclusion(leafHash(lone.envelope), p.index, c.size, p.path, c.root) {
		good = false
	}
	if !good {
		v.add(Finding{Code: codeInclusion, Severity: Error, Seq: lone.seq, HasSeq: true, Path: path})
	}
}

// loneReceipt is a receipt that is checked by itself.
type loneReceipt struct {
	v    *verification
	t    *trust
	path string
	// seq is the number that findings have: its own, or else that of the proof, or else 0.
	seq uint64
	// envelope is the canonical spelling, body what it holds; nil where it has no place in an order.
	envelope []byte
	body     *value
}

func (l *loneReceipt) find(code, pointer string) {
	at := l.path
	if pointer != "" {
		at += "#" + pointer
	}
	l.v.add(Finding{Code: code, Severity: Error, Seq: l.seq, HasSeq: true, Path: at})
}

func (l *loneReceipt) read(data []byte) {
	if len(data) > envelopeBytesMax {
		l.find(codeLimit, "")
		return
	}
	doc, canonical, code := parseJSON(data, smallJSON)
	if code != "" {
		l.find(code, "")
		return
	}
	e, ok := readEnvelope(doc)
	if !ok || e.payloadType != typeReceipt {
		if !canonical {
			l.find(codeNotCanonical, "")
		}
		l.find(codeSchema, "")
		return
	}
	code = codeLimit
	var body *value
	bodyCanonical := true
	if len(e.payload) <= bodyBytesMax {
		body, bodyCanonical, code = parseJSON(e.payload, smallJSON)
	}
	if seq, ok := body.decimalOf("seq"); ok {
		l.seq = seq
	}
	if !canonical || code == "" && !bodyCanonical {
		l.find(codeNotCanonical, "")
	}
	if code != "" {
		l.find(code, "")
		return
	}
	l.v.checkBody(body, l.find)
	l.v.checkKeyAndSignature(l.t, body, e.payload, e.keyID, e.sig, l.seq, func(code string) { l.find(code, "") })
	r := receipt{body: body}
	r.kind, _ = body.textOf("kind")
	prev, _ := body.textOf("prev")
	_, havePrev := parseDigest(prev)
	seq, haveSeq := body.decimalOf("seq")
	if receiptForms[r.kind] == nil || !haveSeq || !havePrev {
		return
	}
	r.seq = seq
	l.envelope, l.body = canonicalJSON(doc), body
	l.v.countReceipt(nil, nil, &r)
	if log, _ := body.textOf("log"); l.t != nil && log != l.t.log {
		l.find(codeOrigin, "")
	}
}

func (v *verification) verifyEventProof(in input) {
	path := in.name
	data, err := readBounded(in.path, largeJSON.bytes)
	if err != nil {
		v.report(codeMissingFile, path)
		return
	}
	doc, canonical, code := parseJSON(data, largeJSON)
	if code != "" {
		v.report(code, path)
		return
	}
	if !canonical {
		v.report(codeNotCanonical, path)
	}
	good := true
	eventProofForm(doc, "", func(code, pointer string) {
		good = false
		v.report(code, path+"#"+pointer)
	})
	if !good {
		return
	}
	t, codes := readTrustValue(doc.get("keys"))
	for _, code := range codes {
		v.report(code, path)
	}
	if t != nil {
		v.useTrust(t, path)
	}
	proof, _ := doc.textOf("proof")
	p := v.openProof([]byte(proof), path)
	lone := &loneReceipt{v: v, t: t, path: path}
	if p != nil {
		lone.seq = p.index
	}
	lone.read(canonicalJSON(doc.get("receipt")))
	v.checkProof(p, t, lone, path)
	v.checkEvent(doc, lone, path)
}

// checkEvent holds the event against the stream of the receipt.
func (v *verification) checkEvent(doc *value, lone *loneReceipt, path string) {
	if lone.body == nil {
		return
	}
	stream := lone.body.get("stream")
	rootHex, _ := stream.textOf("root")
	root, okRoot := parseDigest(rootHex)
	released := stream.get("events")
	event, _ := doc.decimalOf("event")
	events, _ := doc.decimalOf("events")
	leafHex, _ := doc.textOf("leaf")
	var steps []digest
	for _, h := range doc.get("path").list {
		steps = append(steps, mustDigest(h.text))
	}
	good := okRoot && released != nil && fits(count, released) && uint64(released.number) == events &&
		verifyInclusion(mustDigest(leafHex), event, events, steps, root)
	if v.event != nil && leafHash(v.event) != mustDigest(leafHex) {
		good = false
	}
	if !good {
		v.add(Finding{Code: codeInclusion, Severity: Error, Seq: lone.seq, HasSeq: true, Path: path})
	}
}
