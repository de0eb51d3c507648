module clyra.dev/receipts/verifiers/go

go 1.24

require (
	github.com/klauspost/compress v1.18.0
	lukechampine.com/blake3 v1.4.1
)

require github.com/klauspost/cpuid/v2 v2.0.9 // indirect
