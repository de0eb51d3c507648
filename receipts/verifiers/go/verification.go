// Package pef verifies evidence in the portable evidence format, PEF v0, from receipts/SPEC.md and nothing else. It shares
// no code with the program that writes the evidence.
//
// Everything that is read is somebody else's: no input may make it panic or hold more than its bounds, and every fault
// becomes a finding, not an end.
package pef

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options are what the reader knows apart from the evidence.
type Options struct {
	// Root is the verifier key of the root that is trusted, or empty: then integrity is checked and not origin.
	Root string
	// Checkpoint is a checkpoint note that the reader remembers, or nil.
	Checkpoint []byte
	// Witnesses is the quorum that checkpoints must satisfy, or nil.
	Witnesses *WitnessPolicy
	// Event is the event whose release is in question, or nil.
	Event []byte
}

// Stats counts what was looked at.
type Stats struct {
	Bundles, Checkpoints, Receipts, Segments uint64
	FirstSeq, LastSeq                        uint64
	Kinds, Verdicts                          map[string]uint64
	Logs                                     []string
}

// Verdict is the outcome of a verification.
type Verdict struct {
	// Origin says that a root key was given, so that the evidence is known to be that key's if it is good.
	Origin          bool
	Findings        []Finding
	FindingsDropped uint64
	OK              bool
	Stats           Stats
}

type verification struct {
	root     *publicKey
	event    []byte
	options  Options
	findings findings
	stats    Stats
	logs     map[string]*logState
	// The log's checkpoint that the reader remembers.
	remembered *checkpoint
	pruned     map[uint64]bool
	coverage   map[string]uint64
}

// logState is what was met of a log in all inputs.
type logState struct {
	// roots are those of the checkpoints that were met, by size.
	roots map[uint64]digest
	trust []*trust
	// size is the most receipts that a stream has, and known the roots of the trees of the remembered size.
	size     uint64
	haveSize bool
	known    map[digest]struct{}
}

// InputError says that an input is nothing that can be verified.
type InputError struct{ text string }

func (e *InputError) Error() string { return e.text }

func inputErrorf(format string, args ...any) error {
	return &InputError{fmt.Sprintf(format, args...)}
}

// Verify checks evidence: bundles, data directories, journal directories, proofs.
func Verify(paths []string, options Options) (*Verdict, error) {
	v := &verification{
		options: options, event: options.Event, logs: map[string]*logState{}, coverage: map[string]uint64{},
		stats: Stats{Kinds: map[string]uint64{}, Verdicts: map[string]uint64{}},
	}
	if options.Root != "" {
		root, ok := parseVKey(strings.TrimSpace(options.Root), algEd25519)
		if !ok || weakKey(root.pub) {
			return nil, inputErrorf("the root key is no verifier key, NAME+HASH+KEY")
		}
		v.root = &root
	}
	if len(paths) == 0 {
		return nil, inputErrorf("nothing to verify")
	}
	inputs, err := sortInputs(paths)
	if err != nil {
		return nil, err
	}
	v.beginRemembered()
	var bundles []*bundle
	for _, in := range inputs {
		switch in.kind {
		case inputData:
			v.verifyJournal(filepath.Join(in.path, "journal"), in.path)
			inside, err := dataBundles(in.path)
			if err != nil {
				return nil, err
			}
			bundles = append(bundles, inside...)
		case inputJournal:
			v.verifyJournal(in.path, "")
		case inputBundle, inputBundleDir:
			bundles = append(bundles, &bundle{path: in.path, name: in.name, directory: in.kind == inputBundleDir})
		}
	}
	v.verifyBundles(bundles)
	for _, in := range inputs {
		switch in.kind {
		case inputProof:
			v.verifyProof(in)
		case inputEventProof:
			v.verifyEventProof(in)
		}
	}
	v.checkRemembered()
	return v.verdict(), nil
}

func (v *verification) verdict() *Verdict {
	out := &Verdict{Origin: v.root != nil, Findings: v.findings.sorted(), Stats: v.stats}
	out.FindingsDropped = v.findings.dropped
	out.OK = !v.findings.errors
	for name, l := range v.logs {
		if len(l.trust) > 0 {
			out.Stats.Logs = append(out.Stats.Logs, name)
		}
	}
	slices.Sort(out.Stats.Logs)
	return out
}

type inputKind int

const (
	inputData inputKind = iota
	inputJournal
	inputBundle
	inputBundleDir
	inputProof
	inputEventProof
)

type input struct {
	kind inputKind
	path string
	name string
}

func sortInputs(paths []string) ([]input, error) {
	inputs := make([]input, 0, len(paths))
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, inputErrorf("%v", err)
		}
		in := input{path: path, name: inputName(path)}
		switch {
		case info.IsDir() && isDir(filepath.Join(path, "journal")):
			in.kind = inputData
		case info.IsDir() && hasSegments(path):
			in.kind = inputJournal
		case info.IsDir() && isFile(filepath.Join(path, "manifest.json")):
			in.kind = inputBundleDir
		case info.IsDir():
			return nil, inputErrorf("%s is neither a bundle, nor a data directory, nor a journal", path)
		case !info.Mode().IsRegular():
			return nil, inputErrorf("%s is no plain file", path)
		case strings.HasSuffix(in.name, proofEnding):
			in.kind = inputProof
		case strings.HasSuffix(in.name, eventProofEnding):
			in.kind = inputEventProof
		default:
			in.kind = inputBundle
		}
		inputs = append(inputs, in)
	}
	return inputs, nil
}

// inputName is the last part of a path, as findings give it.
func inputName(path string) string {
	name := filepath.Base(filepath.Clean(path))
	if name == "." || name == ".." {
		if whole, err := filepath.Abs(path); err == nil {
			name = filepath.Base(whole)
		}
	}
	return toValidText(name)
}

// toValidText makes a text out of what the system says, so that every verdict is JSON.
func toValidText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func (v *verification) add(f Finding) { v.findings.add(f) }

// report adds an error without a sequence number.
func (v *verification) report(code, path string) {
	v.add(Finding{Code: code, Severity: Error, Path: path})
}

func (v *verification) warn(code, path string) {
	v.add(Finding{Code: code, Severity: Warning, Path: path})
}

func (v *verification) log(name string) *logState {
	l := v.logs[name]
	if l == nil {
		l = &logState{roots: map[uint64]digest{}, known: map[digest]struct{}{}}
		v.logs[name] = l
	}
	return l
}

// useTrust notes a trust file that could be read, and whether it is that of the trusted root.
func (v *verification) useTrust(t *trust, path string) {
	l := v.log(t.log)
	l.trust = append(l.trust, t)
	if v.root != nil && (v.root.name != t.root.name || string(v.root.pub) != string(t.root.pub)) {
		v.report(codeKeyUnknown, path)
	}
}

// meetCheckpoint reads a checkpoint note, reports what is wrong with it and with its fellows of the same size.
func (v *verification) meetCheckpoint(data []byte, t *trust, path string, quorum bool) *checkpoint {
	c, ok := parseCheckpoint(data)
	if !ok {
		v.report(codeMalformed, path)
		return nil
	}
	v.stats.Checkpoints++
	if t != nil {
		for _, code := range c.check(t) {
			v.report(code, path)
		}
	}
	if quorum && v.options.Witnesses != nil {
		for _, code := range v.options.Witnesses.check(c) {
			v.report(code, path)
		}
	}
	v.meetRoot(c, path)
	return c
}

func (v *verification) meetRoot(c *checkpoint, path string) {
	roots := v.log(c.origin).roots
	if root, met := roots[c.size]; !met {
		roots[c.size] = c.root
	} else if root != c.root {
		v.report(codeFork, path)
	}
}

// beginRemembered reads the remembered checkpoint, so that the streams know what size to look out for.
func (v *verification) beginRemembered() {
	if v.options.Checkpoint == nil {
		return
	}
	c, ok := parseCheckpoint(v.options.Checkpoint)
	if !ok {
		v.report(codeMalformed, rememberedPath)
		return
	}
	v.stats.Checkpoints++
	v.meetRoot(c, rememberedPath)
	v.remembered = c
}

const rememberedPath = "remembered checkpoint"

// knownRoot is called with each tree that a stream of receipts reaches.
func (v *verification) knownRoot(s *stream) {
	c := v.remembered
	if s.trust != nil && !s.trust.void && c != nil && c.origin == s.trust.log && c.size == s.tree.size {
		v.log(s.trust.log).known[s.tree.root()] = struct{}{}
	}
}

// knownReach is called where a stream of receipts ends.
func (v *verification) knownReach(s *stream) {
	if s.trust == nil || s.trust.void {
		return
	}
	l := v.log(s.trust.log)
	l.size, l.haveSize = max(l.size, s.next), true
}

// checkRemembered holds the remembered checkpoint against everything that was met of its log: in trust files that could be
// read, and in the receipts beside them.
func (v *verification) checkRemembered() {
	c := v.remembered
	if c == nil {
		return
	}
	trusted, vouched, own := false, false, false
	for name, l := range v.logs {
		for _, t := range l.trust {
			if t.void {
				continue
			}
			trusted = true
			if name == c.origin {
				// It is enough that the keys of one of the inputs vouch for it.
				own, vouched = true, vouched || len(c.check(t)) == 0
			}
		}
	}
	switch {
	case own && !vouched:
		v.report(codeNoteSig, rememberedPath)
	case trusted && !own:
		v.report(codeOrigin, rememberedPath)
	}
	l := v.logs[c.origin]
	if l == nil {
		return
	}
	switch {
	case !l.haveSize:
	case c.size > l.size:
		v.add(Finding{Code: codeRollback, Severity: Error, Seq: l.size, HasSeq: true, Path: rememberedPath})
	case len(l.known) == 0:
		v.warn(codeConsistency, rememberedPath)
	}
	for root := range l.known {
		if root != c.root {
			v.report(codeFork, rememberedPath)
		}
	}
}

// checkBody checks the form of a receipt. Without a kind that is known, that is the only finding.
func (v *verification) checkBody(body *value, report func(code, pointer string)) (formed bool) {
	kind, _ := body.textOf("kind")
	form := receiptForms[kind]
	if form == nil {
		report(codeSchema, "/kind")
		return false
	}
	formed = true
	form(body, "", func(code, pointer string) {
		formed = false
		report(code, pointer)
	})
	return formed
}

// checkKeyAndSignature checks who signed a receipt. Without a trust file only what the receipt says of itself is held
// against its envelope.
func (v *verification) checkKeyAndSignature(
	t *trust, body *value, raw []byte, envelopeKey string, sig []byte, seq uint64, report func(code string),
) {
	keyID, ok := body.textOf("key_id")
	if !ok {
		return
	}
	if keyID != envelopeKey {
		report(codeKeyID)
	}
	if alg, ok := body.textOf("alg"); ok && alg != algName {
		report(codeAlg)
		return
	}
	if t == nil || t.void {
		return
	}
	key := t.keyOf(keyID, purposeReceipt)
	if key == nil {
		report(codeKeyUnknown)
		return
	}
	if code := key.validForSeq(seq); code != "" {
		report(code)
	}
	if !key.verify(pae(typeReceipt, raw), sig) {
		report(codeReceiptSig)
	}
}

// countReceipt counts a receipt that has a kind, seq and prev of the right form.
func (v *verification) countReceipt(kinds, verdicts map[string]uint64, r *receipt) {
	st := &v.stats
	if st.Receipts == 0 || r.seq < st.FirstSeq {
		st.FirstSeq = r.seq
	}
	if st.Receipts == 0 || r.seq > st.LastSeq {
		st.LastSeq = r.seq
	}
	st.Receipts++
	st.Kinds[r.kind]++
	if kinds != nil {
		kinds[r.kind]++
	}
	// Only the words of the specification are counted, so that evidence cannot fill memory with others.
	if verdict := r.body.get("verdict"); verdict != nil && fits(verdictForm, verdict) {
		st.Verdicts[verdict.text]++
		if verdicts != nil {
			verdicts[verdict.text]++
		}
	}
}

func (v *verification) pruneMet(to uint64) {
	if v.pruned != nil {
		v.pruned[to] = true
	}
}
