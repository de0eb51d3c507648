package pef

import (
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Every byte of small evidence, cut off and flipped: never a panic, never silence.

func codesOf(found []string) (codes []string) {
	for _, f := range found {
		codes = append(codes, f[:4])
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

func TestEveryByteOfABundle(t *testing.T) {
	t.Parallel()
	l := newTestLog()
	l.begin()
	l.exchange()
	plain := tarOf(l.bundle(0, 4))
	good := compress(plain)
	path := writeTemp(t, "a.pef", good)
	expect(t, found(t, Options{}, path))
	check := func(what string, at int, bytes []byte) {
		t.Helper()
		if err := os.WriteFile(path, bytes, 0o644); err != nil {
			t.Fatal(err)
		}
		got := found(t, Options{}, path)
		// A few bits of a frame say nothing about the content, as those of a window that is still large enough.
		if len(got) == 0 && what == "flipped" && slices.Equal(decompressed(bytes), plain) {
			return
		}
		// A flipped bit may show in a name of the tar before the checksum of the frame does; it is the frame that is bad.
		if len(got) != 1 || got[0] != "E108 error a.pef" {
			t.Errorf("%s at byte %d of %d: %q", what, at, len(good), got)
		}
	}
	for size := range good {
		check("cut", size, good[:size])
	}
	for at := range good {
		flipped := slices.Clone(good)
		flipped[at] ^= 1 << (at % 8)
		check("flipped", at, flipped)
	}
	check("longer", len(good), append(slices.Clone(good), 0))
	check("twice", len(good), append(slices.Clone(good), good...))
}

// The same behind the compression, where no checksum of the frame helps.
func TestEveryByteOfATar(t *testing.T) {
	t.Parallel()
	l := newTestLog()
	l.begin()
	l.exchange()
	plain := tarOf(l.bundle(2, 4))
	path := writeTemp(t, "a.pef", compress(plain))
	expect(t, found(t, Options{}, path))
	for at := 0; at < len(plain); at += 5 { // no multiple of five is a multiple of the block: every field is met
		flipped := slices.Clone(plain)
		flipped[at] ^= 1 << (at % 8)
		if err := os.WriteFile(path, compress(flipped), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := found(t, Options{}, path); len(got) == 0 {
			t.Errorf("byte %d flipped: nothing found", at)
		}
	}
	for size := 0; size < len(plain); size += 101 {
		if err := os.WriteFile(path, compress(plain[:size]), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := found(t, Options{}, path); len(got) != 1 || !strings.HasPrefix(got[0], codeContainer) {
			t.Errorf("%d of %d bytes: %q", size, len(plain), got)
		}
	}
}

func TestEveryByteOfAJournal(t *testing.T) {
	t.Parallel()
	l := newTestLog()
	l.begin()
	l.exchange()
	dir := l.dataDirectory(t, 4)
	segment := filepath.Join(dir, "journal", "seg-00000000000000000000.pefwal")
	good, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, found(t, Options{}, dir))
	write := func(bytes []byte) []string {
		if err := os.WriteFile(segment, bytes, 0o644); err != nil {
			t.Fatal(err)
		}
		return found(t, Options{}, dir)
	}
	// Places where a frame ends: a cut there leaves a whole segment.
	whole := map[int]bool{segmentHeaderBytes: true}
	seal := 0
	for at := segmentHeaderBytes; at < len(good); {
		h, ok := parseFrameHead(good[at : at+frameHeaderBytes])
		if !ok {
			t.Fatal(at)
		}
		seal = at
		at += frameHeaderBytes + h.rest()
		whole[at] = true
	}
	for size := range good {
		if size < segmentHeaderBytes-1 && size%64 != 0 {
			continue
		}
		got := codesOf(write(good[:size]))
		var want []string
		switch {
		case size < segmentHeaderBytes:
			want = []string{codeTailShort, codeCorrupt}
		case size < seal:
			want = []string{codeTailShort}
		}
		if size >= segmentHeaderBytes && !whole[size] {
			want = append(want, codeTornTail)
		}
		// An attempt whose outcome was cut off is a warning of its own.
		got = slices.DeleteFunc(got, func(c string) bool { return c == codeUnpaired })
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("cut to %d of %d: %q, wanted %q", size, len(good), got, want)
		}
	}
	for at := 0; at < len(good); at++ {
		if at > 128 && at < 4_060 && at%64 != 0 {
			continue // the zeros of the header
		}
		flipped := slices.Clone(good)
		flipped[at] ^= 1 << (at % 8)
		got := codesOf(write(flipped))
		bad := slices.Contains(got, codeCorrupt) || slices.Contains(got, codeTornTail)
		// The numbers that are a process's own and in no checksum but the frame's are in it as well: all bytes are.
		if !bad {
			t.Errorf("flipped at %d of %d: %q", at, len(good), got)
		}
	}
}

func TestRandomDamageToDirectories(t *testing.T) {
	l := smallLog()
	n := uint64(len(l.entries))
	members := l.bundle(4, n)
	random := rand.New(rand.NewSource(1))
	for round := 0; round < 400; round++ {
		names := sortedNames(members)
		name := names[random.Intn(len(names))]
		damaged := slices.Clone(members[name])
		switch at := random.Intn(len(damaged)); random.Intn(3) {
		case 0:
			damaged[at] ^= 1 << random.Intn(8)
		case 1:
			damaged = damaged[:at]
		case 2:
			damaged = slices.Insert(damaged, at, damaged[random.Intn(len(damaged))])
		}
		dir := t.TempDir()
		writeFiles(t, dir, members)
		writeFiles(t, dir, map[string][]byte{name: damaged})
		if got := found(t, Options{}, dir); len(got) == 0 && string(damaged) != string(members[name]) {
			t.Errorf("damage to %s is not found", name)
		}
	}
}
