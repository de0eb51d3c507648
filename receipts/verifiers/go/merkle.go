package pef

import (
	"crypto/sha256"
	"hash"
	"math/bits"
)

// The tree of RFC 6962 §2.1: a growing frontier, inclusion and consistency proofs.

func leafHash(entry []byte) digest {
	h := newLeaf()
	h.Write(entry)
	return sumOf(h)
}

func newLeaf() hash.Hash {
	h := sha256.New()
	h.Write([]byte{0})
	return h
}

func sumOf(h hash.Hash) (d digest) {
	h.Sum(d[:0])
	return d
}

func nodeHash(left, right digest) digest {
	var input [65]byte
	input[0] = 1
	copy(input[1:], left[:])
	copy(input[33:], right[:])
	return sha256.Sum256(input[:])
}

// frontier holds the roots of the perfect subtrees of a tree, largest first: at most 64 hashes whatever its size.
type frontier struct {
	size   uint64
	hashes []digest
}

// clone makes a frontier that grows by itself.
func (f *frontier) clone() frontier {
	return frontier{f.size, append([]digest(nil), f.hashes...)}
}

func (f *frontier) add(leaf digest) {
	node := leaf
	for n := f.size; n&1 == 1 && len(f.hashes) > 0; n >>= 1 {
		last := len(f.hashes) - 1
		node = nodeHash(f.hashes[last], node)
		f.hashes = f.hashes[:last]
	}
	f.hashes = append(f.hashes, node)
	f.size++
}

func (f *frontier) root() digest {
	if len(f.hashes) == 0 {
		return sha256.Sum256(nil)
	}
	node := f.hashes[len(f.hashes)-1]
	for i := len(f.hashes) - 2; i >= 0; i-- {
		node = nodeHash(f.hashes[i], node)
	}
	return node
}

// whole says whether there is one hash for each one-bit of the size.
func (f *frontier) whole() bool { return len(f.hashes) == bits.OnesCount64(f.size) }

// verifyInclusion checks that a leaf stands at index in the tree of size leaves with this root.
func verifyInclusion(leaf digest, index, size uint64, path []digest, root digest) bool {
	if index >= size {
		return false
	}
	fn, sn := index, size-1
	node := leaf
	for _, p := range path {
		if sn == 0 {
			return false
		}
		if fn&1 == 1 || fn == sn {
			node = nodeHash(p, node)
			for fn&1 == 0 && fn != 0 {
				fn >>= 1
				sn >>= 1
			}
		} else {
			node = nodeHash(node, p)
		}
		fn >>= 1
		sn >>= 1
	}
	return sn == 0 && node == root
}

// verifyConsistency checks that the tree of size from with root before is a beginning of the tree of size to with root
// after. From an empty tree there is nothing to show, and no such proof is accepted.
func verifyConsistency(from, to uint64, path []digest, before, after digest) bool {
	switch {
	case from == 0 || from > to:
		return false
	case from == to:
		return len(path) == 0 && before == after
	case len(path) == 0:
		return false
	}
	if from&(from-1) == 0 {
		path = append([]digest{before}, path...)
	}
	fn, sn := from-1, to-1
	for fn&1 == 1 {
		fn >>= 1
		sn >>= 1
	}
	fr, sr := path[0], path[0]
	for _, c := range path[1:] {
		if sn == 0 {
			return false
		}
		if fn&1 == 1 || fn == sn {
			fr = nodeHash(c, fr)
			sr = nodeHash(c, sr)
			for fn&1 == 0 && fn != 0 {
				fn >>= 1
				sn >>= 1
			}
		} else {
			sr = nodeHash(sr, c)
		}
		fn >>= 1
		sn >>= 1
	}
	return sn == 0 && fr == before && sr == after
}
