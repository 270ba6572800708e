//! What hostile servers do.

use std::io;
use std::thread;
use std::time::Duration;

use super::Hostile;
use super::server::{
    CREATE, Frame, NEGOTIATE, Peer, READ, SESSION_SETUP, TREE_CONNECT, command, header, noise,
    quiet, u64_at,
};

/// Those that go silent.
pub(crate) const SILENT: &[Hostile] = &[
    ("takes connections and never answers", quiet, |peer, _| {
        peer.fall_silent()
    }),
    ("reads nothing", Peer::fall_silent, |_, _| Ok(())),
    ("answers NEGOTIATE only", quiet, |peer, frame| {
        answers_if(peer, frame, command(frame) == NEGOTIATE)
    }),
    ("answers until the login only", quiet, |peer, frame| {
        answers_if(peer, frame, command(frame) <= SESSION_SETUP)
    }),
    (
        "answers ten frames of each connection",
        quiet,
        |peer, frame| answers_if(peer, frame, frame.on_conn < 10),
    ),
    ("answers thirty frames", quiet, |peer, frame| {
        answers_if(peer, frame, frame.in_all < 30)
    }),
    ("sends a byte every now and then", quiet, |peer, frame| {
        let response = peer.response_to(frame);
        let len = u8::try_from(response.len()).unwrap_or(u8::MAX);
        for byte in [0, 0, 0, len].into_iter().chain(response) {
            peer.raw(&[byte])?;
            thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    }),
    ("sends half a frame", quiet, |peer, frame| {
        let response = peer.response_to(frame);
        peer.raw(&[0, 0, 16, 0])?;
        peer.raw(&response[..response.len() / 2])?;
        peer.fall_silent()
    }),
];

/// Those that say too much, or what is wrong.
pub(crate) const HOSTILE: &[Hostile] = &[
    ("answers with wrong MessageIds", quiet, |peer, frame| {
        patched(peer, frame, |pdu| {
            let mid = u64_at(pdu, 24) + 1_000;
            pdu[24..32].copy_from_slice(&mid.to_le_bytes());
        })
    }),
    ("answers with other commands", quiet, |peer, frame| {
        patched(peer, frame, |pdu| pdu[12] ^= 1)
    }),
    (
        "answers with other commands after the login",
        quiet,
        |peer, frame| {
            patched(peer, frame, |pdu| {
                if pdu[12] > 3 {
                    pdu[12] ^= 1
                }
            })
        },
    ),
    ("gives trees with STATUS_PENDING", quiet, |peer, frame| {
        patched(peer, frame, |pdu| {
            if u16::from(pdu[12]) == TREE_CONNECT {
                pdu[8..12].copy_from_slice(&0x103_u32.to_le_bytes());
            }
        })
    }),
    ("says that data are elsewhere", quiet, |peer, frame| {
        patched(peer, frame, |pdu| {
            if u16::from(pdu[12]) == READ {
                pdu[66] = 255;
            }
        })
    }),
    ("grants no credits", quiet, |peer, frame| {
        patched(peer, frame, |pdu| pdu[14..16].fill(0))
    }),
    ("grants 65,535 credits each time", quiet, |peer, frame| {
        patched(peer, frame, |pdu| pdu[14..16].fill(0xff))
    }),
    (
        "sends a compound that is its own next",
        quiet,
        |peer, frame| {
            patched(peer, frame, |pdu| {
                pdu[20..24].copy_from_slice(&8_u32.to_le_bytes())
            })
        },
    ),
    (
        "sends a compound that leads far away",
        quiet,
        |peer, frame| patched(peer, frame, |pdu| pdu[20..24].fill(0xff)),
    ),
    (
        "sends a compound of a thousand answers",
        quiet,
        |peer, frame| {
            let mut one = peer.response_to(frame);
            one.resize(one.len().next_multiple_of(8), 0);
            let next = u32::try_from(one.len()).unwrap();
            one[20..24].copy_from_slice(&next.to_le_bytes());
            let mut all = one.repeat(1_000);
            let last = all.len() - one.len();
            all[last + 20..last + 24].fill(0);
            peer.send(&all)
        },
    ),
    (
        "says that everything is pending, and no more",
        quiet,
        |peer, frame| {
            if command(frame) <= TREE_CONNECT {
                return peer.answer(frame);
            }
            peer.send(&pending(frame))
        },
    ),
    (
        "says without end that everything is pending",
        quiet,
        |peer, frame| {
            if command(frame) <= TREE_CONNECT {
                return peer.answer(frame);
            }
            loop {
                peer.send(&pending(frame))?;
            }
        },
    ),
    (
        "says without end that the NEGOTIATE is pending",
        quiet,
        |peer, frame| {
            loop {
                peer.send(&pending(frame))?;
                thread::sleep(Duration::from_millis(1));
            }
        },
    ),
    ("breaks oplocks that nobody holds", quiet, |peer, frame| {
        peer.answer(frame)?;
        (0..50).try_for_each(|_| peer.send(&oplock_break(&noise(16))))
    }),
    (
        "breaks leases that nobody holds, without end",
        quiet,
        |peer, frame| {
            peer.answer(frame)?;
            if frame.on_conn < 4 {
                return Ok(());
            }
            loop {
                peer.send(&lease_break(&noise(16)))?;
            }
        },
    ),
    ("breaks an oplock again and again", quiet, |peer, frame| {
        let mut response = peer.response_to(frame);
        if command(frame) == CREATE && response.len() >= 152 {
            response[66] = 9;
            let id = response[128..144].to_vec();
            peer.send(&response)?;
            return (0..300).try_for_each(|_| peer.send(&oplock_break(&id)));
        }
        peer.send(&response)
    }),
    (
        "breaks before anybody has spoken",
        |peer| (0..10_000).try_for_each(|_| peer.send(&oplock_break(&[7; 16]))),
        Peer::answer,
    ),
    ("answers everything ten times", quiet, |peer, frame| {
        let response = peer.response_to(frame);
        (0..10).try_for_each(|_| peer.send(&response))
    }),
    (
        "answers nothing, and sends strays without end",
        quiet,
        |peer, _| {
            loop {
                peer.send(&header(13, 77_777, 0, 1))?;
            }
        },
    ),
    ("sends large strays without end", quiet, |peer, _| {
        let mut stray = header(READ, 77_777, 0, 1);
        stray.resize(4 << 20, 0x55);
        loop {
            peer.send(&stray)?;
        }
    }),
    (
        "sends frames of 16 MiB without end",
        quiet,
        |peer, frame| {
            let mut response = peer.response_to(frame);
            response.resize(0xff_ffff, 0);
            loop {
                peer.send(&response)?;
            }
        },
    ),
    ("closes at once", Peer::hang_up, |_, _| Ok(())),
    (
        "closes after as many frames as connections before",
        quiet,
        |peer, frame| {
            peer.answer(frame)?;
            if frame.on_conn >= peer.number % 12 {
                return peer.hang_up();
            }
            Ok(())
        },
    ),
    (
        "resets after as many frames as connections before",
        quiet,
        |peer, frame| {
            if frame.on_conn >= peer.number % 12 {
                return peer.reset();
            }
            peer.answer(frame)
        },
    ),
    (
        "asks for one more leg of a login, always",
        quiet,
        |peer, frame| {
            if command(frame) != SESSION_SETUP {
                return peer.answer(frame);
            }
            patched(peer, frame, |pdu| {
                pdu[8..12].copy_from_slice(&0xc000_0016_u32.to_le_bytes())
            })
        },
    ),
    ("logs in with tokens of noise", quiet, |peer, frame| {
        if command(frame) != SESSION_SETUP {
            return peer.answer(frame);
        }
        let mut response = peer.response_to(frame);
        response[8..12].copy_from_slice(&0xc000_0016_u32.to_le_bytes());
        response[70..72].copy_from_slice(&200_u16.to_le_bytes());
        response.extend(noise(200));
        peer.send(&response)
    }),
    ("signs with noise", quiet, |peer, frame| {
        patched(peer, frame, |pdu| {
            pdu[16] |= 8;
            pdu[48..64].copy_from_slice(&noise(16));
        })
    }),
    (
        "says that it encrypts, and sends noise",
        quiet,
        |peer, frame| {
            if frame.on_conn < 3 {
                return peer.answer(frame);
            }
            let mut sealed = vec![0xfd, b'S', b'M', b'B'];
            sealed.extend(noise(200));
            peer.send(&sealed)
        },
    ),
    (
        "says that it compresses, and expands to gigabytes",
        quiet,
        |peer, frame| {
            if frame.on_conn < 3 {
                return peer.answer(frame);
            }
            let mut packed = vec![0xfc, b'S', b'M', b'B', 0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0];
            packed.extend(noise(300));
            peer.send(&packed)
        },
    ),
    ("speaks SMB 1", quiet, |peer, _| {
        let mut smb1 = vec![0xff, b'S', b'M', b'B', 0x72];
        smb1.resize(39, 0);
        peer.send(&smb1)
    }),
    ("speaks a dialect that is none", quiet, |peer, frame| {
        patched(peer, frame, |pdu| {
            if pdu[12] == 0 {
                pdu[68..70].fill(0xee)
            }
        })
    }),
    ("speaks 3.1.1 without its contexts", quiet, |peer, frame| {
        patched(peer, frame, |pdu| {
            if pdu[12] == 0 {
                pdu[68..70].copy_from_slice(&0x0311_u16.to_le_bytes());
            }
        })
    }),
    (
        "speaks HTTP",
        |peer| peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Peer::answer,
    ),
    (
        "sends keep-alives and empty frames without end",
        quiet,
        |peer, _| {
            loop {
                peer.raw(&[0x85, 0, 0, 0])?;
                peer.raw(&[0, 0, 0, 0])?;
            }
        },
    ),
    ("has lengths below nothing", quiet, |peer, frame| {
        let first = command(frame);
        patched(peer, frame, |pdu| match first {
            CREATE => pdu[144..152].fill(0xff),
            NEGOTIATE | SESSION_SETUP => pdu[68..72].fill(0xff),
            _ => {
                let from = pdu.len().min(66);
                pdu[from..].fill(0xff);
            }
        })
    }),
    (
        "answers READ with more than was asked for",
        quiet,
        |peer, frame| {
            if command(frame) != READ {
                return peer.answer(frame);
            }
            let mut data = header(READ, u64_at(&frame.bytes, 24), 0, 1);
            data.extend_from_slice(&[17, 0, 80, 0]);
            data.extend_from_slice(&(8_u32 << 20).to_le_bytes());
            data.resize(80 + (8 << 20), 0x41);
            peer.send(&data)
        },
    ),
    (
        "connects trees of kinds that are none",
        quiet,
        |peer, frame| {
            let kinds = [0, 4, 7, 0xff];
            let kind = kinds[frame.in_all % kinds.len()];
            let first = command(frame);
            patched(peer, frame, |pdu| {
                if first == TREE_CONNECT {
                    pdu[66] = kind;
                    pdu[36..40].fill(0xff);
                }
            })
        },
    ),
    (
        "answers asynchronously what is not",
        quiet,
        |peer, frame| {
            patched(peer, frame, |pdu| {
                pdu[16] |= 2;
                pdu[32..40].fill(0x33);
            })
        },
    ),
    (
        "refuses everything after the login",
        quiet,
        |peer, frame| {
            if command(frame) <= TREE_CONNECT {
                return peer.answer(frame);
            }
            let mut refusal = header(command(frame), u64_at(&frame.bytes, 24), 0xc000_0203, 1);
            refusal.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 0]);
            peer.send(&refusal)
        },
    ),
    ("sends noise in frames", quiet, |peer, frame| {
        peer.send(&noise(64 + frame.on_conn % 500))
    }),
    (
        "sends noise without frames",
        |peer| {
            let bytes = noise(1 << 16);
            peer.raw(&bytes)
        },
        Peer::answer,
    ),
    ("answers with headers alone", quiet, |peer, frame| {
        let mut response = peer.response_to(frame);
        response.truncate(64);
        peer.send(&response)
    }),
];

fn answers_if(peer: &mut Peer, frame: &Frame, wanted: bool) -> io::Result<()> {
    if wanted {
        peer.answer(frame)
    } else {
        peer.fall_silent()
    }
}

/// Answers with what `change` makes of the first answer.
fn patched(peer: &mut Peer, frame: &Frame, change: impl Fn(&mut [u8])) -> io::Result<()> {
    let mut response = peer.response_to(frame);
    if response.is_empty() {
        return Ok(());
    }
    change(&mut response);
    peer.send(&response)
}

/// STATUS_PENDING to a frame's first request.
fn pending(frame: &Frame) -> Vec<u8> {
    let mid = u64_at(&frame.bytes, 24);
    let mut bytes = header(command(frame), mid, 0x103, 1);
    bytes[16] |= 2;
    bytes[32..40].copy_from_slice(&(mid + 1).to_le_bytes());
    bytes.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

fn oplock_break(id: &[u8]) -> Vec<u8> {
    let mut bytes = header(18, u64::MAX, 0, 0);
    bytes.extend_from_slice(&[24, 0, 1, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(id);
    bytes
}

fn lease_break(key: &[u8]) -> Vec<u8> {
    let mut bytes = header(18, u64::MAX, 0, 0);
    let mut body = [0; 44];
    (body[0], body[4]) = (44, 1);
    body[8..24].copy_from_slice(key);
    bytes.extend_from_slice(&body);
    bytes
}
