package pef

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// The container of a bundle (SPEC §8): one zstd frame over a tar of exactly one form, or a directory of the members.
// A container that breaks its rules is one finding, and nothing in it is looked at; so it is gone through twice, first
// for its form and then for its content.

const (
	membersMax          = 4_096
	memberBytesMax      = 8 << 20
	membersTogetherMax  = 64 << 20
	longMemberBytesMax  = 4 << 30
	artifactsBytesMax   = 4 << 30
	inflationMax        = 400
	inflationFreeBytes  = 1 << 20
	zstdWindowMax       = 2 << 20
	tarBlock            = 512
	tarNameBytes        = 100
	memberReceipts      = "receipts.jsonl"
	memberManifest      = "manifest.json"
	memberLineage       = "lineage/openlineage.jsonl"
	memberArtifacts     = "artifacts/sha256/"
	containerCopyBuffer = 64 << 10
)

// containerError is a broken rule of the container.
type containerError struct{ code string }

func (e *containerError) Error() string { return "container: " + e.code }

func broken(code string) error { return &containerError{code} }

// containerCode gives the code for an error of reading a container. What is no broken rule, a file that went away, is
// broken all the same.
func containerCode(err error) string {
	var broken *containerError
	if errors.As(err, &broken) {
		return broken.code
	}
	return codeContainer
}

// takeMember is called with each member in order; it need not read it to the end.
type takeMember func(name string, size uint64, content io.Reader) error

// walkContainer goes through all members of a bundle, up to the end of the container.
func walkContainer(path string, directory bool, take takeMember) error {
	if directory {
		return walkDirectory(path, take)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return walkTar(file, info.Size(), take)
}

// limitsOfMembers counts what the members of a container may have together.
type limitsOfMembers struct {
	members             int
	together, artifacts uint64
	before              string
}

// name checks the form of a name and its place in the order.
func (l *limitsOfMembers) name(name string) error {
	if !isMemberName(name) || name <= l.before {
		return broken(codeBadPath)
	}
	l.before = name
	return nil
}

func (l *limitsOfMembers) size(name string, size uint64) error {
	if l.members++; l.members > membersMax {
		return broken(codeLimit)
	}
	switch {
	case name == memberReceipts || name == memberLineage:
		if size > longMemberBytesMax {
			return broken(codeLimit)
		}
	case strings.HasPrefix(name, memberArtifacts):
		if l.artifacts += size; l.artifacts > artifactsBytesMax {
			return broken(codeLimit)
		}
	default:
		if l.together += size; size > memberBytesMax || l.together > membersTogetherMax {
			return broken(codeLimit)
		}
	}
	return nil
}

func isMemberName(name string) bool {
	if len(name) == 0 || len(name) > tarNameBytes {
		return false
	}
	for _, part := range strings.Split(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
		for i := 0; i < len(part); i++ {
			c := part[i]
			if !isDigit(c) && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '_' && c != '-' {
				return false
			}
		}
	}
	return true
}

// walkDirectory takes a directory for the container: plain files with names of the form, and nothing else.
func walkDirectory(dir string, take takeMember) error {
	names, err := listDirectory(dir)
	if err != nil {
		return err
	}
	limits := limitsOfMembers{}
	for _, name := range names {
		if err := limits.name(name); err != nil {
			return err
		}
		if err := walkFile(filepath.Join(dir, filepath.FromSlash(name)), name, &limits, take); err != nil {
			return err
		}
	}
	return nil
}

func walkFile(path, name string, limits *limitsOfMembers, take takeMember) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return broken(codeBadPath)
	}
	size := uint64(info.Size())
	if err := limits.size(name, size); err != nil {
		return err
	}
	return take(name, size, io.LimitReader(file, info.Size()))
}

// listDirectory gives the plain files below a directory, ascending by name.
func listDirectory(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			// Deeper than the longest name can be there is nothing to be found.
			if len(path)-len(dir) > tarNameBytes+1 {
				return broken(codeBadPath)
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return broken(codeBadPath)
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if names = append(names, filepath.ToSlash(name)); len(names) > membersMax {
			return broken(codeLimit)
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

// walkTar reads the frame of fileSize bytes and the tar in it, to the last byte of both.
func walkTar(file io.Reader, fileSize int64, take takeMember) error {
	one := &frameReader{in: file}
	if err := one.header(); err != nil {
		return err
	}
	decoder, err := zstd.NewReader(one, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(zstdWindowMax), zstd.WithDecoderMaxMemory(1<<40))
	if err != nil {
		return broken(codeContainer)
	}
	defer decoder.Close()
	plain := &inflated{in: decoder, left: uint64(fileSize)*inflationMax + inflationFreeBytes}
	err = walkPlainTar(plain, take)
	if err != nil && !plain.failed {
		// Decoders differ in how much of a bad frame they pass on, so what stands in it counts only when it is good.
		_, _ = io.Copy(io.Discard, plain)
	}
	if plain.failed {
		return broken(codeContainer)
	}
	if err != nil {
		return err
	}
	return one.end()
}

// inflated counts what comes out of the decoder.
type inflated struct {
	in   io.Reader
	left uint64
	// failed says that the frame is not good.
	failed bool
}

func (r *inflated) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if uint64(n) > r.left {
		return 0, broken(codeLimit)
	}
	r.left -= uint64(n)
	if err != nil && err != io.EOF {
		r.failed = true
		err = broken(codeContainer)
	}
	return n, err
}

func walkPlainTar(plain *inflated, take takeMember) error {
	limits := limitsOfMembers{}
	header := make([]byte, tarBlock)
	discard := make([]byte, containerCopyBuffer)
	for {
		if err := readBlock(plain, header); err != nil {
			return err
		}
		if allZero(header) {
			break
		}
		name, size, err := parseTarHeader(header, &limits)
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, memberArtifacts) {
			plain.left += size // attached files may be as compressible as they like
		}
		content := &io.LimitedReader{R: plain, N: int64(size)}
		if err := take(name, size, content); err != nil {
			return err
		}
		for content.N > 0 {
			if n, err := content.Read(discard); err != nil && (err != io.EOF || n == 0) {
				return containerRead(err)
			}
		}
		padding := header[:-size&(tarBlock-1)]
		if err := readBlock(plain, padding); err != nil {
			return err
		}
		if !allZero(padding) {
			return broken(codeContainer)
		}
	}
	if err := readBlock(plain, header); err != nil {
		return err
	}
	if !allZero(header) {
		return broken(codeContainer)
	}
	// Nothing may follow, and the frame's checksum is looked at here.
	n, err := io.ReadFull(plain, header[:1])
	if n > 0 {
		return broken(codeContainer)
	}
	if err != io.EOF {
		return containerRead(err)
	}
	return nil
}

func readBlock(r io.Reader, block []byte) error {
	if _, err := io.ReadFull(r, block); err != nil {
		return containerRead(err)
	}
	return nil
}

// containerRead is why a read in a container failed: a broken rule, or an end too early.
func containerRead(err error) error {
	var rule *containerError
	if errors.As(err, &rule) {
		return rule
	}
	return broken(codeContainer)
}

// parseTarHeader reads a ustar header of exactly the form of SPEC §8: name, then the rest, then the limits.
func parseTarHeader(header []byte, limits *limitsOfMembers) (name string, size uint64, err error) {
	end := bytes.IndexByte(header[:tarNameBytes], 0)
	if end < 0 {
		end = tarNameBytes
	}
	name = string(header[:end])
	if err := limits.name(name); err != nil {
		return "", 0, err
	}
	octal := string(header[124:135])
	size, ok := parseOctal(octal)
	if !ok {
		return "", 0, broken(codeContainer)
	}
	want := make([]byte, tarBlock)
	copy(want, name)
	copy(want[100:], "0000644")
	copy(want[108:], "0000000")
	copy(want[116:], "0000000")
	copy(want[124:], octal)
	copy(want[136:], "00000000000")
	copy(want[148:], "        ")
	want[156] = '0'
	copy(want[257:], "ustar\x0000")
	copy(want[329:], "0000000")
	copy(want[337:], "0000000")
	sum := 0
	for _, c := range want {
		sum += int(c)
	}
	copy(want[148:], fmt.Sprintf("%06o\x00 ", sum))
	if !bytes.Equal(header, want) {
		return "", 0, broken(codeContainer)
	}
	return name, size, limits.size(name, size)
}

func parseOctal(s string) (uint64, bool) {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '7' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 8, 64)
	return n, err == nil
}

// frameReader passes on exactly one zstd frame of the allowed form, so that the decoder sees nothing behind it.
type frameReader struct {
	in      io.Reader
	pending []byte // bytes of the frame that are read and not yet passed on
	left    uint64 // bytes that may be passed on before the next block header
	last    bool   // the block is the last one
	done    bool
	store   [32]byte
}

// header reads the frame header: a content checksum, no dictionary, no reserved bit, a window of at most 2 MiB.
func (r *frameReader) header() error {
	head := r.store[:5]
	if _, err := io.ReadFull(r.in, head); err != nil {
		return containerRead(err)
	}
	descriptor := head[4]
	if binary.LittleEndian.Uint32(head) != 0xFD2FB528 || descriptor&0b0000_1011 != 0 || descriptor&0b100 == 0 {
		return broken(codeContainer)
	}
	single := descriptor&0x20 != 0
	sizeBytes := []int{0, 2, 4, 8}[descriptor>>6]
	if single && sizeBytes == 0 {
		sizeBytes = 1
	}
	windowBytes := 1
	if single {
		windowBytes = 0
	}
	rest := r.store[5 : 5+windowBytes+sizeBytes]
	if _, err := io.ReadFull(r.in, rest); err != nil {
		return containerRead(err)
	}
	var window uint64
	if single {
		var le [8]byte
		copy(le[:], rest)
		window = binary.LittleEndian.Uint64(le[:])
		if sizeBytes == 2 {
			window += 256
		}
	} else {
		base := uint64(1) << (10 + rest[0]>>3)
		window = base + base/8*uint64(rest[0]&7)
	}
	if window > zstdWindowMax {
		return broken(codeContainer)
	}
	r.pending = r.store[:5+len(rest)]
	return nil
}

func (r *frameReader) Read(p []byte) (int, error) {
	if len(r.pending) == 0 && r.left == 0 {
		if err := r.block(); err != nil {
			return 0, err
		}
	}
	if len(r.pending) > 0 {
		n := copy(p, r.pending)
		r.pending = r.pending[n:]
		return n, nil
	}
	if uint64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.in.Read(p)
	r.left -= uint64(n)
	if n > 0 {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}

// block reads the next block header, or the checksum behind the last block.
func (r *frameReader) block() error {
	if r.done {
		return io.EOF
	}
	length := 3
	if r.last {
		length = 4
	}
	r.pending = r.store[:length]
	if _, err := io.ReadFull(r.in, r.pending); err != nil {
		r.pending = nil
		return io.ErrUnexpectedEOF
	}
	if r.last {
		r.done = true
		return nil
	}
	header := uint32(r.pending[0]) | uint32(r.pending[1])<<8 | uint32(r.pending[2])<<16
	r.last = header&1 == 1
	r.left = uint64(header >> 3)
	switch header >> 1 & 3 {
	case 1: // run length: one byte, whatever the size
		r.left = 1
	case 3:
		r.pending = nil
		return broken(codeContainer)
	}
	return nil
}

// end checks that the frame was passed on whole, and that nothing follows it.
func (r *frameReader) end() error {
	var one [1]byte
	n, err := io.ReadFull(r.in, one[:])
	if !r.done || len(r.pending) > 0 || n > 0 || err != io.EOF {
		return broken(codeContainer)
	}
	return nil
}
