package pef

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/big"
)

// Anchors in Bitcoin: the transaction, its Merkle branch, and the headers that follow (SPEC §9).

const (
	branchMax        = 32
	blockHeadersMax  = 2_016
	transactionTwins = 64 // bytes of a transaction that could be taken for a pair of hashes
)

// opReturn checks a proof of the right form.
func (c *anchorCheck) opReturn(doc *value) {
	txHex, _ := doc.textOf("tx")
	tx, _ := hex.DecodeString(txHex)
	scripts, ok := outputScripts(tx)
	if !ok || len(tx) == transactionTwins {
		c.fail(codeSPVInvalid)
		return
	}
	wanted := append([]byte{0x6A, 0x24, 'P', 'E', 'F', '0'}, c.imprint[:]...)
	found := false
	for _, script := range scripts {
		found = found || bytes.Equal(script, wanted)
	}
	if !found {
		c.fail(codeImprint)
	}
	index, _ := doc.decimalOf("index")
	if !goodBranch(doc.get("branch").list, index, tx, doc.get("headers").list) {
		c.fail(codeSPVInvalid)
	}
}

func goodBranch(branch []*value, index uint64, tx []byte, headers []*value) bool {
	if len(branch) > branchMax || index>>len(branch) != 0 || len(headers) < 1 || len(headers) > blockHeadersMax {
		return false
	}
	h := doubleSHA256(tx)
	for i, step := range branch {
		side := mustDigest(step.text)
		if index>>i&1 == 0 {
			h = doubleSHA256(append(h[:], side[:]...))
		} else {
			h = doubleSHA256(append(side[:], h[:]...))
		}
	}
	var before digest
	for i, text := range headers {
		header, err := hex.DecodeString(text.text)
		if err != nil || len(header) != blockHeaderBytes || !meetsTarget(header) {
			return false
		}
		if i == 0 && !bytes.Equal(h[:], header[36:68]) || i > 0 && !bytes.Equal(before[:], header[4:36]) {
			return false
		}
		before = doubleSHA256(header)
	}
	return true
}

// meetsTarget says whether the hash of a block header is at most the target that it names.
func meetsTarget(header []byte) bool {
	bits := binary.LittleEndian.Uint32(header[72:76])
	exponent, mantissa := bits>>24, bits&0xFFFFFF
	if exponent < 3 || exponent > 32 || mantissa < 1 || mantissa >= 1<<23 {
		return false
	}
	target := new(big.Int).Lsh(big.NewInt(int64(mantissa)), uint(8*(exponent-3)))
	hash := doubleSHA256(header)
	for i, j := 0, len(hash)-1; i < j; i, j = i+1, j-1 {
		hash[i], hash[j] = hash[j], hash[i]
	}
	return new(big.Int).SetBytes(hash[:]).Cmp(target) <= 0
}

// outputScripts reads a transaction without witness data and gives the scripts of its outputs.
func outputScripts(tx []byte) (scripts [][]byte, ok bool) {
	r := reader{rest: tx}
	r.take(4)
	inputs := compactSize(&r)
	if inputs < 1 {
		return nil, false
	}
	for ; inputs > 0 && !r.failed; inputs-- {
		r.take(36)
		r.take(compactSize(&r))
		r.take(4)
	}
	outputs := compactSize(&r)
	if outputs < 1 {
		return nil, false
	}
	for ; outputs > 0 && !r.failed; outputs-- {
		r.take(8)
		scripts = append(scripts, r.take(compactSize(&r)))
	}
	r.take(4)
	return scripts, !r.failed && len(r.rest) == 0
}

// compactSize reads Bitcoin's CompactSize in its shortest form.
func compactSize(r *reader) uint64 {
	first := r.byte()
	var width, least uint64
	switch first {
	case 0xFD:
		width, least = 2, 0xFD
	case 0xFE:
		width, least = 4, 1<<16
	case 0xFF:
		width, least = 8, 1<<32
	default:
		return uint64(first)
	}
	var le [8]byte
	copy(le[:], r.take(width))
	n := binary.LittleEndian.Uint64(le[:])
	if n < least {
		r.failed = true
	}
	return n
}
