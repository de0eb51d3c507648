package pef

import (
	"crypto/sha256"
	"math"
)

// The receipts of one log in their order (SPEC §9): each by itself, and held against those before it.

const (
	// Runs whose place is remembered. When there are as many and another is met, all are forgotten.
	runsMax = 16_384
	// Attempts without outcome that are remembered. From the next on, no pairs are looked at but those that are open.
	openAttemptsMax = 1_048_576
)

// claim is what a document says about the tree: its root at a size.
type claim struct {
	size uint64
	root digest
	path string
}

type openAttempt struct {
	id   string
	path int
}

type runPlace struct {
	seq   uint64
	chain digest
}

// start is what the next receipt's boot, clock and key are compared with.
type start struct {
	known    bool
	bootID   string
	epoch    int64
	mono     uint64
	key      string
	keyKnown bool
	// rotatedTo is the key that the receipt before, a key.rotate of purpose receipt, hands over to.
	rotatedTo string
	rotates   bool
}

// stream is the place that was reached in a log.
type stream struct {
	v     *verification
	trust *trust
	// anchors checks anchor receipts, or is nil.
	anchors *anchorShelf

	begun  bool
	first  uint64
	next   uint64
	chain  digest
	linked bool // chain is known

	start start
	ts    string

	tree      frontier
	treeKnown bool
	begin     frontier           // the tree with which the stream began
	claims    map[uint64][]claim // by size, of those that are not yet reached
	claimed   []claim            // all of them, for whoever asks in the end whether the log has so many receipts
	attempts  map[uint64]openAttempt
	noPairs   bool
	runs      map[digest]runPlace
	paths     []string // of the files that receipts came from
	kinds     map[string]uint64
	verdicts  map[string]uint64
	placed    bool // a receipt of this source stood in its place
}

func newStream(v *verification, t *trust) *stream {
	return &stream{
		v: v, trust: t, claims: map[uint64][]claim{}, attempts: map[uint64]openAttempt{}, runs: map[digest]runPlace{},
	}
}

// beginAt places a stream before receipt seq.
func (s *stream) beginAt(seq uint64) {
	s.begun, s.first, s.next = true, seq, seq
}

// source names the file that the next receipts come from, and begins its counts.
func (s *stream) source(path string) {
	s.paths = append(s.paths, path)
}

func (s *stream) path() string { return s.paths[len(s.paths)-1] }

func (s *stream) resetCounts() {
	s.kinds, s.verdicts = map[string]uint64{}, map[string]uint64{}
	s.placed = false
}

// setTree gives the tree before the next receipt.
func (s *stream) setTree(f *frontier) {
	s.tree, s.treeKnown = f.clone(), true
	s.begin = f.clone()
	s.reached()
}

// claim notes what is said of the tree, which may be reached later or be reached now.
func (s *stream) claim(c claim) {
	s.claims[c.size] = append(s.claims[c.size], c)
	s.claimed = append(s.claimed, c)
	s.reached()
}

// reached looks at the claims on the size of the tree as it is now.
func (s *stream) reached() {
	if !s.treeKnown {
		return
	}
	s.v.knownRoot(s)
	claims := s.claims[s.tree.size]
	if len(claims) == 0 {
		return
	}
	delete(s.claims, s.tree.size)
	root := s.tree.root()
	for _, c := range claims {
		if c.root != root {
			s.v.report(codeRoot, c.path)
		}
	}
}

// leaf grows the tree.
func (s *stream) leaf(hash digest) {
	if s.treeKnown {
		s.tree.add(hash)
		s.reached()
	}
}

// finding reports on a receipt.
func (s *stream) finding(code string, severity Severity, seq uint64, pointer string) {
	s.v.add(Finding{Code: code, Severity: severity, Seq: seq, HasSeq: true, Path: s.path() + pointer})
}

// envelopeLine takes a line of receipts.jsonl, without its newline.
func (s *stream) envelopeLine(line []byte) {
	defer s.leaf(leafHash(line))
	v, canonical, code := parseJSON(line, smallJSON)
	if code != "" {
		s.unreadable(code, "")
		return
	}
	e, ok := readEnvelope(v)
	if !ok || e.payloadType != typeReceipt {
		if !canonical {
			s.finding(codeNotCanonical, Error, s.next, "")
		}
		s.unreadable(codeSchema, "")
		return
	}
	s.body(e.payload, e.keyID, e.sig, canonical, nil)
}

// unreadable takes one place for a receipt that cannot be read.
func (s *stream) unreadable(code, pointer string) {
	s.finding(code, Error, s.next, pointer)
	s.passOne()
}

func (s *stream) passOne() {
	s.next = after(s.next)
	s.unlink()
}

// after is the number expected after a receipt's. The largest has no other after it.
func after(seq uint64) uint64 {
	if seq == math.MaxUint64 {
		return seq
	}
	return seq + 1
}

func (s *stream) unlink() {
	s.linked = false
	s.start = start{}
}

// receipt is a body with what was read of it.
type receipt struct {
	body    *value
	kind    string
	seq     uint64
	prev    digest
	prevHex string
	chain   digest
	formed  bool // no departure from its form
}

// frame is what a journal says beside the body.
type frame struct {
	seq   uint64
	chain digest
}

// body takes a receipt whose envelope could be read, and says whether that was canonical.
func (s *stream) body(body []byte, envelopeKey string, sig []byte, enveloped bool, f *frame) {
	v, canonical, code := s.readBody(body)
	if code != "" {
		if !enveloped {
			s.finding(codeNotCanonical, Error, s.next, "")
		}
		s.unreadable(code, "")
		return
	}
	r := receipt{body: v}
	number := s.next
	seq, haveSeq := v.decimalOf("seq")
	if haveSeq {
		number = seq
	}
	if !canonical || !enveloped {
		s.finding(codeNotCanonical, Error, number, "")
	}
	r.formed = s.v.checkBody(v, func(code, pointer string) { s.finding(code, Error, number, "#"+pointer) })
	s.v.checkKeyAndSignature(s.trust, v, body, envelopeKey, sig, number, func(code string) {
		s.finding(code, Error, number, "")
	})
	r.kind, _ = v.textOf("kind")
	r.seq = seq
	var havePrev bool
	r.prevHex, _ = v.textOf("prev")
	r.prev, havePrev = parseDigest(r.prevHex)
	if receiptForms[r.kind] == nil || !haveSeq || !havePrev {
		s.passOne()
		return
	}
	if log, _ := v.textOf("log"); s.trust != nil && log != s.trust.log {
		s.finding(codeOrigin, Error, number, "")
	}
	r.chain = chainValue(seq, body)
	s.v.countReceipt(s.kinds, s.verdicts, &r)
	if s.place(&r) && f != nil && (f.seq != seq || f.chain != r.chain) {
		s.finding(codeCorrupt, Error, f.seq, "")
	}
}

// readBody reads the JSON of a receipt.
func (s *stream) readBody(body []byte) (v *value, canonical bool, code string) {
	if len(body) > bodyBytesMax {
		return nil, false, codeLimit
	}
	return parseJSON(body, smallJSON)
}

// place holds a receipt against the number that was expected, and then against those before it. It says whether there
// is a place for it.
func (s *stream) place(r *receipt) bool {
	if !s.begun {
		s.beginAt(r.seq)
	}
	switch {
	case r.seq > s.next:
		s.finding(codeSeqGap, Error, s.next, "")
		s.unlink()
	case r.seq+1 == s.next:
		s.finding(codeSeqDup, Error, r.seq, "")
		return false
	case r.seq < s.next:
		s.finding(codeOrder, Error, r.seq, "")
		return false
	}
	s.checkChain(r)
	if s.checkStart(r) {
		s.checkKeyChange(r)
	}
	s.checkTime(r)
	s.checkKind(r)
	s.checkPair(r)
	s.checkRun(r)
	s.next = after(r.seq)
	s.chain, s.linked = r.chain, true
	s.placed = true
	return true
}

func (s *stream) checkChain(r *receipt) {
	if r.seq == 0 || r.kind == "genesis" {
		s.checkGenesis(r)
	}
	if r.seq > 0 && s.linked && r.prev != s.chain {
		s.finding(codePrev, Error, r.seq, "")
	}
}

func (s *stream) checkGenesis(r *receipt) {
	event := r.body.get("event")
	good := r.seq == 0 && r.kind == "genesis" && event != nil
	if good {
		good = r.prev == derive(contextGenesis, canonicalJSON(event))
	}
	log, okLog := event.textOf("log")
	own, okOwn := r.body.textOf("log")
	root, _ := event.textOf("root")
	good = good && okLog && okOwn && log == own && (s.trust == nil || root == s.trust.rootID)
	if !good {
		s.finding(codeGenesis, Error, r.seq, "")
	}
}

// checkStart says whether the receipt tells which process wrote it; one that does not is passed over.
func (s *stream) checkStart(r *receipt) bool {
	boot := r.body.get("boot")
	id, okID := boot.textOf("id")
	epoch := boot.get("epoch")
	mono, okMono := r.body.decimalOf("mono_ns")
	if !okID || epoch == nil || epoch.kind != kindNumber || !okMono {
		return false
	}
	if r.seq == 0 && epoch.number != 1 {
		s.finding(codeBoot, Error, r.seq, "")
	}
	before := s.start
	same := before.known && before.bootID == id && before.epoch == epoch.number
	switch {
	case !before.known:
	case same:
		if mono < before.mono {
			s.finding(codeTimeBack, Error, r.seq, "")
		}
		if r.kind == "boot" && r.seq != 1 {
			s.finding(codeBoot, Error, r.seq, "")
		}
	default:
		last, okLast := r.body.get("event").decimalOf("last_seq")
		if r.kind != "boot" || epoch.number != before.epoch+1 || !okLast || last+1 != r.seq {
			s.finding(codeBoot, Error, r.seq, "")
		}
		s.start.keyKnown = false
	}
	s.start.known, s.start.bootID, s.start.epoch = true, id, epoch.number
	s.start.mono = mono
	return true
}

func (s *stream) checkTime(r *receipt) {
	ts, ok := r.body.textOf("ts")
	if !ok {
		return
	}
	if ts < s.ts && r.kind != "clock.step" && r.kind != "boot" {
		s.finding(codeTimeBack, Warning, r.seq, "")
	}
	s.ts = ts
}

func (s *stream) checkKeyChange(r *receipt) {
	key, _ := r.body.textOf("key_id")
	if s.start.keyKnown && key != s.start.key && (!s.start.rotates || key != s.start.rotatedTo) {
		s.finding(codeRotation, Error, r.seq, "")
	}
	s.start.key, s.start.keyKnown = key, true
	s.start.rotates = false
	if event := r.body.get("event"); r.kind == "key.rotate" {
		if purpose, _ := event.textOf("purpose"); purpose == purposeReceipt {
			s.start.rotatedTo, s.start.rotates = event.textOf("new")
		}
	}
}

func (s *stream) checkKind(r *receipt) {
	if r.kind == "gap" {
		s.finding(codeLoss, Warning, r.seq, "")
	}
	if !r.formed {
		return
	}
	event := r.body.get("event")
	switch r.kind {
	case "key.rotate":
		s.checkRotation(r, event)
	case "key.revoke":
		s.checkRevocation(r, event)
	case "prune":
		s.checkPrune(r, event)
	case "anchor":
		if s.anchors != nil {
			s.anchors.check(s, r, event)
		}
	}
}

func (s *stream) checkRotation(r *receipt, event *value) {
	if s.trust == nil || s.trust.void {
		return
	}
	purpose, _ := event.textOf("purpose")
	oldID, _ := event.textOf("old")
	newID, _ := event.textOf("new")
	from, _ := event.textOf("valid_from_seq")
	validFrom, _ := parseDecimal(from)
	oldKey, newKey := s.trust.keyOf(oldID, purpose), s.trust.keyOf(newID, purpose)
	if oldKey == nil || newKey == nil && (purpose != purposeReceipt || s.trust.byID[newID] != nil) {
		s.finding(codeKeyUnknown, Error, r.seq, "")
	}
	signed := pae(typeRotation, canonicalJSON(object(
		member{"log", text(s.trust.log)}, member{"new", text(newID)}, member{"old", text(oldID)},
		member{"purpose", text(purpose)}, member{"v", text(formatVersion)}, member{"valid_from_seq", text(from)})))
	good := true
	verify := func(k *certified, name string) {
		encoded, _ := event.textOf(name)
		sig, _ := parseBase64(encoded)
		good = good && k.verify(signed, sig)
	}
	if oldKey != nil {
		verify(oldKey, "old_sig")
	}
	if newKey != nil {
		verify(newKey, "new_sig")
		good = good && validFrom == newKey.validFrom
	}
	if purpose == purposeReceipt {
		key, _ := r.body.textOf("key_id")
		good = good && validFrom == r.seq+1 && oldID == key
	}
	if !good {
		s.finding(codeRotation, Error, r.seq, "")
	}
}

func (s *stream) checkRevocation(r *receipt, event *value) {
	if s.trust == nil || s.trust.void {
		return
	}
	id, _ := event.textOf("key_id")
	lastGood, _ := event.textOf("last_good_seq")
	reason, _ := event.textOf("reason")
	sha, _ := event.textOf("sha256")
	known := s.trust.revoked[id]
	said := "none"
	if known != nil && known.any {
		said = formatDecimal(known.lastGood)
	}
	if known == nil || lastGood != said || reason != known.reason || sha != hexOf(known.digest) {
		s.finding(codeRotation, Error, r.seq, "")
	}
}

func (s *stream) checkPrune(r *receipt, event *value) {
	from, _ := event.decimalOf("from")
	to, _ := event.decimalOf("to")
	if to <= from || to > r.seq {
		s.finding(codeSchema, Error, r.seq, "#/event/to")
	}
	rootHex, _ := event.textOf("root")
	if s.treeKnown && s.begin.size == to && hexOf(s.begin.root()) != rootHex {
		s.finding(codeRoot, Error, r.seq, "")
	}
	s.v.pruneMet(to)
}

func (s *stream) checkPair(r *receipt) {
	id, _ := r.body.textOf("id")
	switch r.kind {
	case "attempt":
		if s.noPairs {
			return
		}
		if len(s.attempts) == openAttemptsMax {
			s.finding(codeLimit, Warning, r.seq, "")
			s.noPairs = true
			return
		}
		s.attempts[r.seq] = openAttempt{id, len(s.paths) - 1}
	case "outcome":
		attempt, ok := r.body.decimalOf("attempt_seq")
		if !ok {
			return
		}
		open, isOpen := s.attempts[attempt]
		switch {
		case attempt >= r.seq:
			s.finding(codeOrder, Error, r.seq, "")
		case attempt < s.first:
		case isOpen && open.id == id:
			delete(s.attempts, attempt)
		case s.noPairs && !isOpen:
		default:
			s.finding(codeUnpaired, Error, r.seq, "")
		}
	}
}

func (s *stream) checkRun(r *receipt) {
	run := r.body.get("run")
	id, okID := run.textOf("id")
	seq, okSeq := run.decimalOf("seq")
	prevHex, _ := run.textOf("prev")
	prev, okPrev := parseDigest(prevHex)
	if !okID || !okSeq || !okPrev {
		return
	}
	key := sha256.Sum256([]byte(id))
	place, met := s.runs[key]
	switch {
	case seq == 0:
		if prev != derive(contextRun, []byte(id)) {
			s.finding(codePrev, Error, r.seq, "#/run")
		}
	case met && (seq-1 != place.seq || prev != place.chain):
		s.finding(codePrev, Error, r.seq, "#/run")
	}
	if !met && len(s.runs) == runsMax {
		clear(s.runs)
	}
	s.runs[key] = runPlace{seq, r.chain}
}

// end reports the attempts that had no outcome.
func (s *stream) end() {
	s.v.knownReach(s)
	for seq, a := range s.attempts {
		s.v.add(Finding{Code: codeUnpaired, Severity: Warning, Seq: seq, HasSeq: true, Path: s.paths[a.path]})
	}
	s.attempts = map[uint64]openAttempt{}
}
