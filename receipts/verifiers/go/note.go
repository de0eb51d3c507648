package pef

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf8"
)

// C2SP signed notes and checkpoints (SPEC §7).

const (
	noteBytesMax      = 65_536
	noteSignaturesMax = 100
	noteSignature     = "— "
	checkpointLines   = 3
)

type noteLine struct {
	name string
	hash uint32
	// sig is what follows the key hash.
	sig []byte
}

type note struct {
	// text is what is signed, with its last newline.
	text       []byte
	signatures []noteLine
}

func isNoteName(s string) bool {
	return s != "" && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsSpace) < 0 && !strings.Contains(s, "+")
}

// parseNote splits a note; it fails where the note is not of its form.
func parseNote(data []byte) (n note, ok bool) {
	if len(data) > noteBytesMax || !utf8.Valid(data) {
		return n, false
	}
	for _, c := range data {
		if c < 0x20 && c != '\n' {
			return n, false
		}
	}
	split := bytes.LastIndex(data, []byte("\n\n"))
	if split < 0 {
		return n, false
	}
	n.text = data[:split+1]
	rest := data[split+2:]
	if len(rest) == 0 || rest[len(rest)-1] != '\n' {
		return n, false
	}
	for len(rest) > 0 {
		end := bytes.IndexByte(rest, '\n')
		line := string(rest[:end])
		rest = rest[end+1:]
		if !strings.HasPrefix(line, noteSignature) || len(n.signatures) == noteSignaturesMax {
			return n, false
		}
		name, encoded, found := strings.Cut(line[len(noteSignature):], " ")
		sig, good := parseBase64(encoded)
		if !found || !isNoteName(name) || !good || len(sig) < 5 {
			return n, false
		}
		n.signatures = append(n.signatures, noteLine{name, binary.BigEndian.Uint32(sig), sig[4:]})
	}
	return n, true
}

type checkpoint struct {
	note
	origin string
	size   uint64
	root   digest
}

// parseCheckpoint reads a note whose text is a checkpoint.
func parseCheckpoint(data []byte) (c *checkpoint, ok bool) {
	n, ok := parseNote(data)
	if !ok {
		return nil, false
	}
	lines := strings.Split(string(n.text), "\n")
	if len(lines) < checkpointLines+1 || lines[0] == "" {
		return nil, false
	}
	// Extension lines mean nothing here, but are not empty. The last part is what follows the last newline.
	for _, line := range lines[checkpointLines : len(lines)-1] {
		if line == "" {
			return nil, false
		}
	}
	c = &checkpoint{note: n, origin: lines[0]}
	if c.size, ok = parseDecimal(lines[1]); !ok {
		return nil, false
	}
	root, ok := parseBase64(lines[2])
	if !ok || len(root) != len(c.root) {
		return nil, false
	}
	copy(c.root[:], root)
	return c, true
}

// check gives what is wrong with the signatures and the origin of a checkpoint, against the keys of a trust file.
func (c *checkpoint) check(t *trust) (codes []string) {
	if c.origin != t.log {
		codes = append(codes, codeOrigin)
	}
	if t.void {
		return codes
	}
	var good []*certified
	wrong := false
	for _, line := range c.signatures {
		for _, key := range t.logKeys {
			if key.name != line.name || key.hash() != line.hash {
				continue
			}
			if key.verify(c.text, line.sig) {
				good = append(good, key)
			} else {
				wrong = true
			}
		}
	}
	switch {
	case wrong || len(good) == 0:
		codes = append(codes, codeNoteSig)
	default:
		if code := bestForTree(good, c.size); code != "" {
			codes = append(codes, code)
		}
	}
	return codes
}

// bestForTree is empty when one of the keys is valid for a tree of size leaves; otherwise E305 if one was revoked
// before, and E304 if none was.
func bestForTree(keys []*certified, size uint64) string {
	worst := codeKeyRange
	for _, k := range keys {
		switch k.validForTree(size) {
		case "":
			return ""
		case codeRevoked:
			worst = codeRevoked
		}
	}
	return worst
}
