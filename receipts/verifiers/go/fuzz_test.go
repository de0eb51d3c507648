package pef

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Fuzz targets. Their seeds run with every test; `go test -fuzz` looks further.

func FuzzJSON(f *testing.F) {
	l := smallLog()
	for _, seed := range [][]byte{
		[]byte(`{"a":[1,-2,null,true,"x\u0001\n"],"b":{}}`), []byte(`"\ud83d\ude00"`), []byte(`[1.5]`), l.entries[2].body,
		l.entries[3].envelope,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, canonical, code := parseJSON(data, smallJSON)
		if code != "" {
			return
		}
		written := canonicalJSON(v)
		if canonical != bytes.Equal(written, data) {
			t.Fatal("canonical or not")
		}
		if _, again, code := parseJSON(written, largeJSON); code != "" || !again {
			t.Fatalf("the canonical spelling of %q is not: %s", data, code)
		}
	})
}

// noContent goes through a container and reads what is in it.
func noContent(name string, _ uint64, content io.Reader) error {
	_, err := io.Copy(io.Discard, content)
	return err
}

func FuzzTar(f *testing.F) {
	plain := tarOf(smallLog().bundle(0, 4))
	f.Add(plain)
	f.Add(plain[:len(plain)-tarBlock])
	f.Add(make([]byte, 2*tarBlock))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &inflated{in: bytes.NewReader(data), left: 1 << 20}
		if err := walkPlainTar(in, noContent); err != nil && containerCode(err) == "" {
			t.Fatal(err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(compress(tarOf(smallLog().bundle(0, 4))))
	f.Add(compress(nil))
	f.Add(compress(make([]byte, 1<<20)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := walkTar(bytes.NewReader(data), int64(len(data)), noContent); err != nil && containerCode(err) == "" {
			t.Fatal(err)
		}
	})
}

func FuzzSegment(f *testing.F) {
	l := smallLog()
	dir := l.dataDirectory(f, 4)
	good, err := os.ReadFile(filepath.Join(dir, "journal", "seg-00000000000000000000.pefwal"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-20])
	f.Add(append(bytes.Clone(good), 1))
	path := filepath.Join(dir, "journal", "seg-00000000000000000000.pefwal")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		got := found(t, Options{}, dir)
		if len(got) == 0 && !bytes.HasPrefix(good, data) {
			t.Fatal("another segment, and nothing found")
		}
	})
}

func FuzzNote(f *testing.F) {
	l := smallLog()
	l.checkpoint(4)
	f.Add(l.checkpoint(4))
	t, _ := readTrust(l.keys())
	f.Fuzz(func(tt *testing.T, data []byte) {
		c, ok := parseCheckpoint(data)
		if !ok {
			return
		}
		if codes := c.check(t); len(codes) == 0 && l.tree(4).root() != c.root {
			tt.Fatal("a checkpoint that nobody signed")
		}
	})
}

func FuzzProof(f *testing.F) {
	f.Add([]byte(proofMagic + "\nextra AA==\nindex 7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\no\n1\nr\n\n— o AAAA\n"))
	f.Add([]byte(proofMagic + "\nindex 0\n\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if p, ok := parseTlogProof(data); ok {
			parseCheckpoint(p.note)
		}
	})
}

func FuzzTrust(f *testing.F) {
	l := smallLog()
	f.Add(l.keys())
	l.revoked = append(l.revoked, l.revoke(l.key, "3"))
	good := l.keys()
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		tr, codes := readTrust(data)
		if (tr == nil) == (len(codes) == 0) {
			t.Fatal("void without a reason, or good with one")
		}
	})
}

func FuzzReceipt(f *testing.F) {
	l := smallLog()
	for _, e := range l.entries {
		f.Add(e.envelope)
		f.Add(e.body)
	}
	tr, _ := readTrust(l.keys())
	f.Fuzz(func(t *testing.T, data []byte) {
		v := &verification{logs: map[string]*logState{}, stats: Stats{Kinds: map[string]uint64{}, Verdicts: map[string]uint64{}}}
		s := newStream(v, tr)
		s.beginAt(4)
		s.source("p")
		s.anchors = newAnchorShelf(memberAnchors{}, "p/")
		s.envelopeLine(data)
		s.body(data, "", make([]byte, signatureBytes), true, nil)
		s.envelopeLine(l.entries[5].envelope)
		s.end()
		v.findings.sorted()
	})
}

func FuzzAnchors(f *testing.F) {
	f.Add([]byte{tagSequence, 0}, byte(0))
	f.Add(append(append(bytes.Clone(otsMagic), 1, 8), make([]byte, 40)...), byte(1))
	f.Add(bytes.Repeat([]byte{1}, 100), byte(2))
	f.Add([]byte(`{"branch":[],"headers":[],"index":"0","tx":"00"}`), byte(3))
	f.Fuzz(func(_ *testing.T, data []byte, which byte) {
		c := &anchorCheck{s: &stream{v: &verification{}}, event: object(), path: "p"}
		switch which % 4 {
		case 0:
			c.timeStamp(data)
		case 1:
			c.openTimestamps(data)
		case 2:
			outputScripts(data)
		case 3:
			if doc, ok := c.document(data, opReturnForm); ok {
				c.opReturn(doc)
			}
		}
	})
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte("# text\nquorum none\n"))
	f.Add([]byte("witness a w+00000000+AAAA\ngroup g 1 a\nquorum g\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := ParseWitnessPolicy(data); err == nil {
			p.check(&checkpoint{})
		}
	})
}
