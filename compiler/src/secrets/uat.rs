//! Wireshark's table of SMB2 session keys: rows of `smb2_seskey_list`.
//!
//! A row is `sesid,seskey,s2ckey,c2skey`, each field in hex, in a quoted text, or empty; what is
//! missing at its end is empty. The session id stands as its eight bytes are on the wire, or behind
//! `0x` as tshark prints it. What a
//! row may be given behind on the command line, `uat:smb2_seskey_list:`, is taken off. Blank lines
//! and lines that begin with `#` are no rows.

use smbench_core::{seal::Secret, smb2::SessionId};

use super::{KeysError, SEPARATORS, SessionKeys, hex, session_id};

/// Reads the table.
pub(super) fn read(text: &[u8]) -> Result<Vec<SessionKeys>, KeysError> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let rows = lines.filter_map(|(at, line)| {
        let line = line.trim_ascii();
        let line = line.strip_prefix(PREFIX).unwrap_or(line).trim_ascii();
        (!line.is_empty() && !line.starts_with(b"#")).then_some((at + 1, line))
    });
    let read = rows.map(|(number, line)| {
        row(line).map_err(|reason| KeysError::BadRow {
            line: number,
            reason,
        })
    });
    read.collect()
}

fn row(line: &[u8]) -> Result<SessionKeys, &'static str> {
    let fields = split(line)?;
    let field = |at: usize| fields.get(at).map_or(&b""[..], Vec::as_slice);
    if fields.len() > 4 {
        return Err("more than the four fields sesid,seskey,s2ckey,c2skey");
    }
    let id = wire_id(field(0)).ok_or("sesid is not 16 hex digits")?;
    let key = |at, wrong| match field(at) {
        b"" => Ok(None),
        text => bytes(text, &[16, 32])
            .map(|key| Some(Secret::new(&key)))
            .ok_or(wrong),
    };
    let keys = SessionKeys {
        session_id: id,
        session_key: key(1, "seskey is not 32 or 64 hex digits")?,
        cipher: None,
        server_to_client: key(2, "s2ckey is not 32 or 64 hex digits")?,
        client_to_server: key(3, "c2skey is not 32 or 64 hex digits")?,
    };
    let given = [
        &keys.session_key,
        &keys.client_to_server,
        &keys.server_to_client,
    ];
    if given.iter().all(|key| key.is_none()) {
        return Err("no key: seskey, s2ckey and c2skey are all empty");
    }
    let lengths = [&keys.client_to_server, &keys.server_to_client].map(|key| key.as_ref());
    if let [Some(up), Some(down)] = lengths
        && up.len() != down.len()
    {
        return Err("s2ckey and c2skey differ in length");
    }
    Ok(keys)
}

/// The id in hex, or its bytes as a quoted text can hold them.
fn wire_id(field: &[u8]) -> Option<SessionId> {
    let written = std::str::from_utf8(field).ok().and_then(session_id);
    let bytes = || Some(u64::from_le_bytes(field.try_into().ok()?));
    written.or_else(|| bytes().map(SessionId))
}

/// Hex, or the bytes themselves as a quoted text can hold them.
fn bytes(field: &[u8], lengths: &[usize]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(field).ok();
    let from_hex = text.and_then(hex);
    let fits = |bytes: &Vec<u8>| lengths.contains(&bytes.len());
    from_hex
        .filter(fits)
        .or_else(|| Some(field.to_vec()).filter(fits))
}

/// The fields of a row, quotes taken off.
fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        let (field, after) = match rest.strip_prefix(b"\"") {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.iter().position(|byte| *byte == b',');
                let (field, after) = rest.split_at(end.unwrap_or(rest.len()));
                let field = field.trim_ascii_end();
                let is_hex =
                    |byte: &u8| byte.is_ascii_hexdigit() || SEPARATORS.contains(&char::from(*byte));
                let digits = field.strip_prefix(b"0x").or(field.strip_prefix(b"0X"));
                if !digits.unwrap_or(field).iter().all(is_hex) {
                    return Err("a field that is neither hex nor quoted");
                }
                (field.to_vec(), after)
            }
        };
        fields.push(field);
        rest = after.trim_ascii_start();
        match rest.split_first() {
            None => return Ok(fields),
            Some((b',', more)) => rest = more,
            Some(_) => return Err("no comma after a quoted field"),
        }
    }
}

/// A quoted text behind its first quote, and what follows it. `\xHH` is a byte.
fn unquote(quoted: &[u8]) -> Result<(Vec<u8>, &[u8]), &'static str> {
    let mut field = Vec::new();
    let mut rest = quoted;
    loop {
        rest = match rest {
            [] => return Err("a quote that does not end"),
            [b'"', after @ ..] => return Ok((field, after)),
            [b'\\', b'x', high, low, after @ ..] => {
                let digits = [*high, *low];
                let byte = std::str::from_utf8(&digits).ok().and_then(hex);
                field.extend(byte.ok_or("\\x without two hex digits")?);
                after
            }
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                field.push(*byte);
                after
            }
        };
    }
}

/// What stands before a row on tshark's command line.
const PREFIX: &[u8] = b"uat:smb2_seskey_list:";

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "\
# This file is automatically generated, DO NOT MODIFY.

2900009c003c0000,f1fa528d3cd182cca67bd4596dabd885,\"\",\"\"
 2900009C003C0000 , , \"763d5552dbc9650b700869467a5857e4\" ,35e69833c6578e438c8701cb40bf483e\r
uat:smb2_seskey_list:0100000000000000,f1fa528d3cd182cca67bd4596dabd885
\"\\x01\\x02\\x03\\x04,\\x05\\x06\\x07\",\"0123456789abcd\\x0a\\x22\",,
";

    #[test]
    fn rows_are_read_as_wireshark_writes_them() {
        let keys = read(ROWS.as_bytes()).unwrap();
        assert_eq!(keys.len(), 4);
        let shown: Vec<_> = (keys.iter())
            .map(|it| {
                let len = |key: &Option<Secret>| key.as_ref().map(Secret::len);
                let lens = [&it.session_key, &it.server_to_client, &it.client_to_server].map(len);
                (it.session_id.0, lens)
            })
            .collect();
        let some = Some(16);
        assert_eq!(
            shown,
            [
                (0x3c00_9c00_0029, [some, None, None]),
                (0x3c00_9c00_0029, [None, some, some]),
                (1, [some, None, None]),
                (0x0706_052c_0403_0201, [some, None, None]),
            ]
        );
        let s2c = keys[1].server_to_client.as_ref().unwrap();
        assert_eq!(&s2c.expose()[..2], [0x76, 0x3d]);
        assert_eq!(
            keys[3].session_key.as_ref().unwrap().expose(),
            b"0123456789abcd\n\""
        );
        assert!(read(b"").unwrap().is_empty());
    }

    #[test]
    fn ids_and_keys_are_read_however_they_are_printed() {
        let key = "f1fa528d3cd182cca67bd4596dabd885";
        for (id, number) in [
            ("2900009c003c0000", 0x3c00_9c00_0029),
            ("0x00003c009c000029", 0x3c00_9c00_0029),
            ("0x3c009c000029", 0x3c00_9c00_0029),
            ("0X3C009C000029", 0x3c00_9c00_0029),
            ("29:00:00:9c:00:3c:00:00", 0x3c00_9c00_0029),
            ("29 00 00 9C 00 3C 00 00", 0x3c00_9c00_0029),
        ] {
            for key in [
                key,
                "0xF1FA528D3CD182CCA67BD4596DABD885",
                "f1 fa 52 8d 3c d1 82 cc-a6 7b d4 59 6d ab d8 85",
            ] {
                let keys = read(format!("{id},{key}").as_bytes()).unwrap();
                assert_eq!(keys[0].session_id.0, number, "{id}");
                assert_eq!(
                    keys[0].session_key.as_ref().unwrap().expose()[..2],
                    [0xf1, 0xfa]
                );
            }
        }
    }

    #[test]
    fn bad_rows_are_named_by_line_and_reason_and_never_shown() {
        let key = "f1fa528d3cd182cca67bd4596dabd885";
        for (row, reason) in [
            (format!("29,{key}"), "sesid"),
            (format!(",{key}"), "sesid"),
            (format!("2900009c003c0000,{key}ff"), "seskey"),
            (format!("2900009c003c0000,,{key}f,"), "s2ckey"),
            (format!("2900009c003c0000,,,{}", &key[..30]), "c2skey"),
            (format!("2900009c003c0000,,{key},{key}{key}"), "length"),
            ("2900009c003c0000,,,".to_owned(), "no key"),
            ("2900009c003c0000".to_owned(), "no key"),
            (format!("2900009c003c0000,{key},,,"), "four fields"),
            (format!("session,{key}"), "neither hex"),
            (format!("0x2900009c003c00001,{key}"), "sesid"),
            (format!("0x,{key}"), "sesid"),
            (format!("2900009c003c0000,\"{key}"), "does not end"),
            (format!("2900009c003c0000,\"{key}\"x"), "no comma"),
            ("2900009c003c0000,\"\\xzz\"".to_owned(), "two hex digits"),
        ] {
            let text = format!("# keys\n\n{row}\n");
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("line 3: "), "{row}: {error}");
            assert!(error.contains(reason), "{row}: {error}");
            assert!(!error.contains(&key[..16]), "{error}");
        }
    }

    #[test]
    fn no_bytes_panic() {
        let mut state = 7_u32;
        for _ in 0..20_000 {
            let mut line = Vec::new();
            for _ in 0..(state >> 27) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let from = b"0aF\",\\x #\r\n\xff\0";
                line.push(from[(state as usize >> 16 & 0xff) % from.len()]);
            }
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let _ = read(&line);
        }
    }
}
