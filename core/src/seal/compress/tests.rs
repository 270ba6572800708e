//! The specification's examples, and input that wants too much.

use super::*;

fn gives(algorithm: u16, packed: &[u8], want: &[u8]) {
    let mut out = b"before".to_vec();
    let end = out.len() + want.len();
    assert_eq!(
        expand(algorithm, packed, end, &mut out),
        Some(()),
        "{algorithm}"
    );
    assert_eq!(&out[6..], want, "{algorithm}");
    for len in 0..packed.len() {
        let mut out = b"before".to_vec();
        let _ = expand(algorithm, &packed[..len], end, &mut out);
        assert!(out.len() <= end, "{algorithm}");
    }
    let mut short = Vec::new();
    let _ = expand(algorithm, packed, want.len() - 1, &mut short);
    assert!(short.len() < want.len(), "{algorithm}");
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A table of code lengths, four bits a symbol. [MS-XCA] 2.1.4.3
fn table(lengths: &[(usize, u8)]) -> Vec<u8> {
    let mut table = vec![0; 256];
    for (symbol, length) in lengths {
        table[symbol / 2] |= length << (symbol % 2 * 4);
    }
    table
}

/// [MS-XCA] 3.1: plain LZ77.
#[test]
fn the_examples_of_plain_lz77() {
    let alphabet = b"abcdefghijklmnopqrstuvwxyz";
    gives(LZ77, &[&hex("3f000000")[..], alphabet].concat(), alphabet);
    let abc = b"abc".repeat(100);
    gives(LZ77, &hex("ffffff1f 616263 1700 0f ff 2601"), &abc);
}

/// [MS-XCA] 3.2: LZ77 and Huffman. Symbol 256 is an end that decoders need not look for; 287 is a
/// long match at a distance of 2 or 3.
#[test]
fn the_examples_of_lz77_and_huffman() {
    let alphabet: Vec<u8> = (b'a'..=b'z').collect();
    let letter = |it: &u8| (usize::from(*it), if *it < b'w' { 5 } else { 4 });
    let mut lengths: Vec<(usize, u8)> = alphabet.iter().map(letter).collect();
    lengths.push((256, 4));
    let bits = hex("d8523ed7 94115be9 195ff9d6 7cdf8d04 00000000");
    gives(LZ77_HUFFMAN, &[table(&lengths), bits].concat(), &alphabet);
    let lengths = [(97, 3), (98, 3), (99, 2), (256, 2), (287, 2)];
    let bits = hex("a8dc0000 ff 2601");
    let packed = [table(&lengths), bits].concat();
    gives(LZ77_HUFFMAN, &packed, &b"abc".repeat(100));
}

/// [MS-XCA] 3.3: LZNT1.
#[test]
fn the_example_of_lznt1() {
    let packed = hex(
        "38b0 8846232000204720410010a24701a045204400084501507900c045200524138805b402\
         4a44ef0358028c091601484500be009e000401189000",
    );
    gives(
        LZNT1,
        &packed,
        b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# \
          G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0",
    );
}

#[test]
fn patterns_plain_bytes_and_lz4_blocks() {
    gives(PATTERN_V1, &[7, 0, 0, 0, 9, 0, 0, 0], &[7; 9]);
    gives(NONE, b"as it is", b"as it is");
    let abc = [&b"abc".repeat(95)[..], b"abcde"].concat();
    gives(LZ4, &hex("3f 616263 0300 ff 08 50 6162636465"), &abc);
}

/// Frames that announce far more than they hold, or hold far more than they announce.
#[test]
fn nothing_grows_beyond_its_limit() {
    let frame = |algorithm: u16, size: u32, packed: &[u8]| {
        let mut frame = vec![0xfc, b'S', b'M', b'B'];
        frame.extend(size.to_le_bytes());
        frame.extend(algorithm.to_le_bytes());
        frame.extend([0; 6]);
        frame.extend(packed);
        frame
    };
    let zeros = |len: usize| vec![0; len];
    let bombs: [(u16, Vec<u8>); 5] = [
        // One byte, then matches of a length that a whole dword says.
        (LZ77, hex("ffffff7f 61 0700 0f ff 0000 ffffff7f")),
        (LZNT1, [hex("03b0 02 61 fc0f"), zeros(9)].concat()),
        (LZ4, [hex("1f 61 0100"), vec![0xff; 4000], vec![0]].concat()),
        (PATTERN_V1, hex("61000000 ffffffff")),
        (
            LZ77_HUFFMAN,
            [
                table(&[(97, 1), (271, 1)]),
                hex("0000ffff ff 0000 ffffff7f"),
            ]
            .concat(),
        ),
    ];
    for (algorithm, packed) in bombs {
        for size in [0, 1, 4096, 1 << 24, u32::MAX] {
            let limit = 1 << 16;
            match decompress(&frame(algorithm, size, &packed), limit) {
                Ok(plain) => assert!(plain.len() <= limit, "{algorithm} {size}"),
                Err(error) if size > 1 << 16 => {
                    let long = SealError::TooLong {
                        got: usize::try_from(size).unwrap(),
                    };
                    assert_eq!(error, long, "{algorithm} {size}");
                }
                Err(_) => {}
            }
        }
        // What the decoder takes for itself is bounded by what the input can give.
        let mut out = Vec::new();
        let end = 1 << 24;
        let _ = expand(algorithm, &packed, end, &mut out);
        assert!(out.capacity() <= 2 * end, "{algorithm}");
    }
    // Few bytes of LZ4 cannot be much, whatever they announce.
    let mut out = Vec::new();
    assert_eq!(expand(LZ4, &[0x10, 0x61], 1 << 24, &mut out), None);
    assert_eq!(out.capacity(), 0);
}

/// Random bytes as every algorithm's input: an answer or an error, within the limit.
#[test]
fn no_bytes_make_it_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..2_000_u32 {
        let len = usize::try_from(next() % 400).unwrap();
        let mut packed: Vec<u8> = (0..len).map(|_| next().to_le_bytes()[0]).collect();
        if round % 3 == 0 {
            packed = [table(&[(97, 1), (271, 2), (511, 3), (300, 3)]), packed].concat();
        }
        for algorithm in 0..=6 {
            let mut out = Vec::new();
            let _ = expand(algorithm, &packed, 5_000, &mut out);
            assert!(out.len() <= 5_000, "{algorithm}");
        }
    }
}
