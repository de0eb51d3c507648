package pef

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Anchor receipts (SPEC §9): the note that was anchored and the proof of it, held against each other.

// Longest anchor file that is looked at.
const anchorFileBytesMax = 1 << 20

const noteEnding = ".note"

var anchorEndings = map[string]string{
	"directory": ".json", "object": ".json", "rfc3161": ".tsr", "opentimestamps": ".ots", "op_return": ".json",
	"witness": noteEnding,
}

var (
	placeForm = exactly(
		opt("etag", isText), opt("retain_until", isText), req("uri", isText), opt("version", isText))
	opReturnForm = exactly(
		req("branch", listOf(digestText)), req("headers", listOf(hexOfBytes(blockHeaderBytes))), req("index", decimalText),
		req("tx", whenText(func(s string) bool { return len(s)%2 == 0 && isLowerHex(s) })))
)

// anchorFiles is where anchor files are: members of a bundle, or a directory.
type anchorFiles interface {
	// names gives the files, ascending.
	names() []string
	// open gives at most anchorFileBytesMax and one bytes of a file, and whether it is there.
	open(name string) ([]byte, bool)
}

// directoryAnchors is the directory anchors/ of a data directory.
type directoryAnchors string

func (d directoryAnchors) names() []string { return directoryNames(string(d)) }

func (d directoryAnchors) open(name string) ([]byte, bool) {
	path := filepath.Join(string(d), name)
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return nil, false
	}
	data, err := readBounded(path, anchorFileBytesMax)
	return data, err == nil
}

// memberAnchors are the members anchors/… of a bundle, by the rest of their names.
type memberAnchors map[string][]byte

func (m memberAnchors) names() []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (m memberAnchors) open(name string) ([]byte, bool) {
	data, ok := m[name]
	return data, ok
}

func (m memberAnchors) take(name string, content io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(content, anchorFileBytesMax+1))
	if err == nil {
		m[name] = data
	}
	return err
}

type anchorShelf struct {
	files anchorFiles
	// prefix is what stands before a file's name in findings.
	prefix string
}

func newAnchorShelf(files anchorFiles, prefix string) *anchorShelf {
	return &anchorShelf{files, prefix}
}

// readNotes meets the notes as checkpoints, before the receipts.
func (a *anchorShelf) readNotes(s *stream) {
	for _, name := range a.files.names() {
		stem, isNote := strings.CutSuffix(name, noteEnding)
		if !isNote || len(stem) != 64 || !isLowerHex(stem) {
			continue
		}
		data, ok := a.files.open(name)
		if !ok {
			continue
		}
		path := a.prefix + name
		if len(data) > anchorFileBytesMax {
			s.v.report(codeLimit, path)
			continue
		}
		if c := s.v.meetCheckpoint(data, s.trust, path, false); c != nil {
			s.claim(claim{c.size, c.root, path})
		}
	}
}

// anchorCheck is the check of one anchor receipt.
type anchorCheck struct {
	s     *stream
	seq   uint64
	event *value
	path  string // of the proof
	// imprint is the digest of the note that was anchored.
	imprint digest
}

func (c *anchorCheck) fail(code string) { c.find(code, Error, "") }

func (c *anchorCheck) find(code string, severity Severity, pointer string) {
	c.s.v.add(Finding{Code: code, Severity: severity, Seq: c.seq, HasSeq: true, Path: c.path + pointer})
}

// check holds an anchor receipt of the right form against its files.
func (a *anchorShelf) check(s *stream, r *receipt, event *value) {
	kind, _ := event.textOf("kind")
	sha, _ := event.textOf("sha256")
	proofHex, _ := event.textOf("proof")
	c := &anchorCheck{s: s, seq: r.seq, event: event, imprint: mustDigest(sha)}
	var noted *checkpoint
	if data, ok := a.file(c, sha+noteEnding, sha, "#/event/sha256"); ok {
		if noted, ok = parseCheckpoint(data); ok {
			size, _ := event.decimalOf("size")
			root, _ := event.textOf("root")
			if noted.size != size || hexOf(noted.root) != root {
				c.fail(codeRoot)
			}
		}
	}
	proof, ok := a.file(c, proofHex+anchorEndings[kind], proofHex, "#/event/proof")
	if !ok {
		return
	}
	switch kind {
	case "directory", "object":
		c.document(proof, placeForm)
	case "rfc3161":
		c.timeStamp(proof)
	case "opentimestamps":
		c.openTimestamps(proof)
	case "op_return":
		if doc, ok := c.document(proof, opReturnForm); ok {
			c.opReturn(doc)
		}
	case "witness":
		if cosigned, ok := parseCheckpoint(proof); ok && noted != nil && string(cosigned.text) != string(noted.text) {
			c.fail(codeImprint)
		}
	}
}

// file gives a file whose content is what its name says.
func (a *anchorShelf) file(c *anchorCheck, name, wanted, pointer string) ([]byte, bool) {
	c.path = a.prefix + name
	data, ok := a.files.open(name)
	switch {
	case ok && len(data) > anchorFileBytesMax:
		c.fail(codeLimit)
		return nil, false
	case !ok || sha256Hex(data) != wanted:
		c.s.finding(codeAnchorFile, Error, c.seq, pointer)
		return nil, false
	}
	return data, true
}

// document reads a JSON proof of a form.
func (c *anchorCheck) document(data []byte, form formOf) (*value, bool) {
	doc, canonical, code := parseJSON(data, largeJSON)
	if code != "" {
		c.fail(code)
		return nil, false
	}
	if !canonical {
		c.fail(codeNotCanonical)
	}
	ok := true
	form(doc, "", func(code, pointer string) {
		ok = false
		c.find(code, Error, "#"+pointer)
	})
	return doc, ok
}

// reader takes bytes from the front; after the first that is missing it has failed.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n uint64) []byte {
	if r.failed || n > uint64(len(r.rest)) {
		r.failed = true
		return nil
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func doubleSHA256(b []byte) digest {
	once := sha256.Sum256(b)
	return sha256.Sum256(once[:])
}
