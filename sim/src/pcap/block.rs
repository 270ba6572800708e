//! Blocks of a pcapng file: one section, one Ethernet interface, packets.
//! draft-ietf-opsawg-pcapng 4.1, 4.2, 4.3. Little-endian, times in nanoseconds.

/// The Section Header Block, with the writer's name.
pub(super) fn section(out: &mut Vec<u8>) {
    block(out, SECTION, |out| {
        out.extend(ORDER.to_le_bytes());
        out.extend(1_u16.to_le_bytes()); // version 1.0
        out.extend(0_u16.to_le_bytes());
        out.extend(u64::MAX.to_le_bytes()); // length unknown
        option(
            out,
            USER_APPLICATION,
            concat!("smbench ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        option(out, END_OF_OPTIONS, &[]);
    });
}

/// Whether a file that begins with `head` begins with a section that [`section`] wrote.
pub(super) fn is_section(head: &[u8]) -> bool {
    let mut ours = Vec::new();
    section(&mut ours);
    let at = |bytes: &[u8], from: usize, to: usize| bytes.get(from..to).map(<[u8]>::to_vec);
    // All but its length and the version, with which the length changes.
    let name = FIXED + 4 + WRITER.len();
    at(head, 0, 4) == at(&ours, 0, 4)
        && at(head, 8, FIXED + 2) == at(&ours, 8, FIXED + 2)
        && at(head, FIXED + 4, name) == at(&ours, FIXED + 4, name)
}

/// The Interface Description Block.
pub(super) fn interface(out: &mut Vec<u8>) {
    block(out, INTERFACE, |out| {
        out.extend(ETHERNET.to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        out.extend(0_u32.to_le_bytes()); // no snap length
        option(out, NAME, b"simulation");
        option(out, RESOLUTION, &[NANOSECONDS]);
        option(out, END_OF_OPTIONS, &[]);
    });
}

/// An Enhanced Packet Block; `fill` appends the packet.
pub(super) fn packet(out: &mut Vec<u8>, time_ns: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    block(out, ENHANCED_PACKET, |out| {
        let [a, b, c, d, low @ ..] = time_ns.to_be_bytes();
        out.extend(0_u32.to_le_bytes()); // the only interface
        out.extend(u32::from_be_bytes([a, b, c, d]).to_le_bytes());
        out.extend(u32::from_be_bytes(low).to_le_bytes());
        let lengths = out.len();
        out.extend([0; 8]);
        let start = out.len();
        fill(out);
        let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
        // Captured whole: both lengths are the same.
        for (to, from) in (out.iter_mut().skip(lengths)).zip([len.to_le_bytes(); 2].concat()) {
            *to = from;
        }
        pad(out, start);
    });
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or_default().to_le_bytes());
    let start = out.len();
    out.extend_from_slice(value);
    pad(out, start);
}

fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    fill(out);
    let len = u32::try_from(out.len() - start + 4).unwrap_or(u32::MAX);
    for (to, from) in out.iter_mut().skip(start + 4).zip(len.to_le_bytes()) {
        *to = from;
    }
    out.extend(len.to_le_bytes());
}

/// Everything is padded to 32 bits.
fn pad(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    out.resize(start + len.next_multiple_of(4), 0);
}

/// Bytes of a Section Header Block before its options.
const FIXED: usize = 24;
/// What the writer's name begins with.
const WRITER: &str = "smbench ";
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const ORDER: u32 = 0x1a2b_3c4d;
const END_OF_OPTIONS: u16 = 0;
const NAME: u16 = 2;
const USER_APPLICATION: u16 = 4;
const RESOLUTION: u16 = 9;
const NANOSECONDS: u8 = 9;
const ETHERNET: u16 = 1;
