package pef

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math/big"
	"strings"
)

// Ed25519 keys: their names, verifier keys (C2SP signed-note), and which points are refused.

const (
	signatureBytes = ed25519.SignatureSize
	publicKeyBytes = ed25519.PublicKeySize

	algEd25519     = 1
	algCosignature = 4
)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// publicKey is a key under its name.
type publicKey struct {
	name string
	pub  ed25519.PublicKey
	id   digest
}

func newPublicKey(name string, pub []byte) publicKey {
	return publicKey{name, pub, noteKeyID(name, algEd25519, pub)}
}

func noteKeyID(name string, alg byte, pub []byte) digest {
	input := append([]byte(name), '\n', alg)
	return sha256.Sum256(append(input, pub...))
}

// hash is the key hash of C2SP signed-note.
func (k *publicKey) hash() uint32 { return binary.BigEndian.Uint32(k.id[:4]) }

// verify is the ordinary cofactorless check of RFC 8032 with canonical S (SPEC §1), which is that of the standard
// library.
func (k *publicKey) verify(message, sig []byte) bool {
	return len(k.pub) == publicKeyBytes && len(sig) == signatureBytes && ed25519.Verify(k.pub, message, sig)
}

// parseVKey reads a verifier key, name+hash+base64(alg ‖ public key), of the given algorithm.
func parseVKey(s string, alg byte) (k publicKey, ok bool) {
	name, rest, found := strings.Cut(s, "+")
	if !found || !isNoteName(name) {
		return k, false
	}
	hash, encoded, found := strings.Cut(rest, "+")
	if !found || len(hash) != 8 || !isLowerHex(hash) {
		return k, false
	}
	key, ok := parseBase64(encoded)
	if !ok || len(key) != 1+publicKeyBytes || key[0] != alg {
		return k, false
	}
	k = publicKey{name, key[1:], noteKeyID(name, alg, key[1:])}
	return k, hexOf(k.id)[:8] == hash
}

var (
	// 2^255 - 19, the prime of the field, and the constant of the curve.
	fieldPrime, _ = new(big.Int).SetString("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed", 16)
	curveD, _     = new(big.Int).SetString("52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3", 16)
	// The y coordinates of the eight points of small order: 0, 1, -1, and two of order 8.
	smallOrder = [][]byte{
		{},
		{1},
		new(big.Int).Sub(fieldPrime, big.NewInt(1)).Bytes(),
		bigEndian("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7"),
		bigEndian("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826"),
	}
)

func bigEndian(s string) []byte {
	n, _ := new(big.Int).SetString(s, 16)
	return n.Bytes()
}

// weakKey says whether a public key must be refused: not a canonical encoding of a point, or a point of small order.
func weakKey(pub []byte) bool {
	reversed := make([]byte, len(pub))
	for i, c := range pub {
		reversed[len(pub)-1-i] = c
	}
	reversed[0] &= 0x7f
	y := new(big.Int).SetBytes(reversed)
	if y.Cmp(fieldPrime) >= 0 {
		return true
	}
	for _, small := range smallOrder {
		if string(y.Bytes()) == string(small) {
			return true
		}
	}
	// On the curve, x² = (y² - 1) / (d y² + 1) has a root.
	square := new(big.Int).Mul(y, y)
	below := new(big.Int).Mul(curveD, square)
	below.Add(below, big.NewInt(1)).Mod(below, fieldPrime)
	above := new(big.Int).Sub(square, big.NewInt(1))
	above.Mod(above, fieldPrime)
	x := below.ModInverse(below, fieldPrime)
	if x == nil {
		return true
	}
	x.Mul(x, above).Mod(x, fieldPrime)
	return x.ModSqrt(x, fieldPrime) == nil
}
