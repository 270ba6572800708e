//! Captures by hand: one client, one connection, one share of files.

/// Numbers one behind the other, as they are on the wire.
macro_rules! bytes {
    ($($number:expr),* $(,)?) => {{
        let mut all: Vec<u8> = Vec::new();
        $(all.extend(($number).to_le_bytes());)*
        all
    }};
}

/// A capture that is being made.
pub(crate) struct Wire {
    bytes: Vec<u8>,
    packets: u32,
    /// The next sequence numbers of client and server.
    seq: [u32; 2],
    mid: u64,
    pub(crate) session: u64,
    pub(crate) tree: u32,
}

impl Wire {
    /// A capture in which a client has connected to `\\srv\data`.
    pub(crate) fn new() -> Self {
        let head = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1];
        let mut wire = Self {
            bytes: head.into_iter().flat_map(u32::to_le_bytes).collect(),
            packets: 0,
            seq: [1000, 2000],
            mid: 0,
            session: 0,
            tree: 0,
        };
        let mut chosen = bytes![65_u16, 1_u16, 0x210_u16, 0_u16];
        chosen.extend([2; 16]);
        chosen.extend(bytes![
            1_u32,
            1_u32 << 20,
            1_u32 << 20,
            1_u32 << 20,
            0_u64,
            0_u64,
            128_u16,
            0_u16,
            0_u32
        ]);
        let mut offer = bytes![36_u16, 1_u16, 1_u16, 0_u16, 0_u32];
        offer.extend([1; 16]);
        offer.extend(bytes![0_u64, 0x210_u16]);
        wire.call(NEGOTIATE, &offer, 0, &chosen);
        wire.session = 0x55;
        wire.log_in(0);
        wire.connect(7);
        wire
    }

    /// Logs in as nobody, in the place of another session.
    pub(crate) fn log_in(&mut self, previous: u64) {
        let request = bytes![25_u16, 0x100_u16, 0_u32, 0_u32, 88_u16, 0_u16, previous];
        self.call(
            SESSION_SETUP,
            &request,
            0,
            &bytes![9_u16, 0_u16, 72_u16, 0_u16],
        );
    }

    /// Connects to the share once more; the tree has that number.
    pub(crate) fn connect(&mut self, tree: u32) {
        let path = utf16("\\\\srv\\data");
        let mut request = bytes![9_u16, 0_u16, 72_u16, len16(&path)];
        request.extend(path);
        self.tree = 0;
        let mid = self.ask(TREE_CONNECT, &request);
        self.tree = tree;
        let answer = bytes![16_u16, 1_u16, 0_u32, 0_u32, 0x1f_01ff_u32];
        self.answer(TREE_CONNECT, mid, 0, &answer);
    }

    /// Sends a request; its MessageId.
    pub(crate) fn ask(&mut self, command: u16, body: &[u8]) -> u64 {
        let mid = self.mid;
        self.mid += 1;
        let message = self.message(command, mid, None, 0, body);
        self.send(false, &message);
        mid
    }

    pub(crate) fn answer(&mut self, command: u16, mid: u64, status: u32, body: &[u8]) {
        let message = self.message(command, mid, Some(status), 0, body);
        self.send(true, &message);
    }

    /// A request and its answer.
    pub(crate) fn call(&mut self, command: u16, body: &[u8], status: u32, answer: &[u8]) {
        let mid = self.ask(command, body);
        self.answer(command, mid, status, answer);
    }

    /// As many times the same request as one compound, and their answers as one.
    pub(crate) fn compound(&mut self, count: u32, command: u16, body: &[u8], answer: &[u8]) {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for left in (0..count).rev() {
            for (all, status, body) in [(&mut asked, None, body), (&mut answered, Some(0), answer)]
            {
                let mut body = body.to_vec();
                body.resize(body.len().next_multiple_of(8), 0);
                let next = if left == 0 { 0 } else { 64 + len32(&body) };
                all.extend(self.message(command, self.mid, status, next, &body));
            }
            self.mid += 1;
        }
        self.send(false, &asked);
        self.send(true, &answered);
    }

    fn message(
        &self,
        command: u16,
        mid: u64,
        status: Option<u32>,
        next: u32,
        body: &[u8],
    ) -> Vec<u8> {
        let mut message = b"\xfeSMB".to_vec();
        message.extend(bytes![
            64_u16,
            1_u16,
            status.unwrap_or(0),
            command,
            512_u16,
            u32::from(status.is_some()),
            next,
            mid,
            0xfeff_u32,
            self.tree,
            self.session,
            0_u64,
            0_u64
        ]);
        message.extend(body);
        message
    }

    /// A frame, in as many segments as it takes.
    fn send(&mut self, by_server: bool, message: &[u8]) {
        let mut frame = len32(message).to_be_bytes().to_vec();
        frame.extend(message);
        for part in frame.chunks(60_000) {
            self.segment(by_server, part);
        }
    }

    fn segment(&mut self, by_server: bool, payload: &[u8]) {
        let side = usize::from(by_server);
        let mut ends = [([10_u8, 1, 0, 5], 50_000_u16), ([10, 1, 0, 9], 445)];
        if by_server {
            ends.reverse();
        }
        let len = 54 + len32(payload);
        self.bytes.extend(bytes![1000_u32, self.packets, len, len]);
        self.bytes.extend([2; 12]);
        self.bytes.extend([8, 0, 0x45, 0]);
        self.bytes
            .extend(u16::try_from(len - 14).unwrap().to_be_bytes());
        self.bytes.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        self.bytes.extend(ends.iter().flat_map(|(ip, _)| ip));
        self.bytes
            .extend(ends.iter().flat_map(|(_, port)| port.to_be_bytes()));
        for seq in [self.seq[side], self.seq[1 - side]] {
            self.bytes.extend(seq.to_be_bytes());
        }
        self.bytes.extend([0x50, 0x18, 255, 255, 0, 0, 0, 0]);
        self.bytes.extend(payload);
        self.seq[side] = self.seq[side].wrapping_add(len32(payload));
        self.packets += 10;
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// What is asked of files. [MS-SMB2] 2.2.13 to 2.2.40
impl Wire {
    /// Opens what is there.
    pub(crate) fn open(&mut self, name: &str, file: u64) {
        self.call(CREATE, &create(name, 0), 0, &created(file, 4, NORMAL));
    }

    /// Opens a folder that is there.
    pub(crate) fn open_folder(&mut self, name: &str, file: u64) {
        self.call(CREATE, &create(name, 1), 0, &created(file, 0, FOLDER));
    }

    /// Looks for a name in vain.
    pub(crate) fn miss(&mut self, name: &str) {
        self.call(CREATE, &create(name, 0), NAME_NOT_FOUND, &ERROR);
    }

    pub(crate) fn close(&mut self, file: u64) {
        let mut answer = bytes![60_u16, 0_u16, 0_u32];
        answer.extend([0; 52]);
        self.call(CLOSE, &bytes![24_u16, 0_u16, 0_u32, file, file], 0, &answer);
    }

    pub(crate) fn read(&mut self, file: u64, offset: u64, data: &[u8]) {
        self.call(READ, &read(file, offset, len32(data)), 0, &data_read(data));
    }

    pub(crate) fn set_info(&mut self, file: u64, class: u8, buffer: &[u8], status: u32) {
        let kind = u16::from_le_bytes([1, class]);
        let mut request = bytes![
            33_u16,
            kind,
            len32(buffer),
            96_u16,
            0_u16,
            0_u32,
            file,
            file
        ];
        request.extend(buffer);
        let done = 2_u16.to_le_bytes();
        let answer: &[u8] = if status == 0 { &done } else { &ERROR };
        self.call(SET_INFO, &request, status, answer);
    }

    /// FileRenameInformation. [MS-FSCC] 2.4.42
    pub(crate) fn rename(&mut self, file: u64, to: &str) {
        let name = utf16(to);
        let mut buffer = bytes![0_u64, 0_u64, len32(&name)];
        buffer.extend(name);
        self.set_info(file, 10, &buffer, 0);
    }

    /// Lists names: FileNamesInformation. [MS-FSCC] 2.4.33
    pub(crate) fn list(&mut self, file: u64, names: &[String]) {
        let mut listing = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let name = utf16(name);
            let len = (12 + name.len()).next_multiple_of(8);
            let next = if at + 1 == names.len() { 0 } else { len };
            listing.extend(bytes![u32::try_from(next).unwrap(), 0_u32, len32(&name)]);
            listing.extend(&name);
            listing.resize(listing.len() + len - 12 - name.len(), 0);
        }
        let request = bytes![
            33_u16,
            12_u16,
            0_u32,
            file,
            file,
            96_u16,
            2_u16,
            1_u32 << 20,
            u16::from(b'*')
        ];
        let mut answer = bytes![9_u16, 72_u16, len32(&listing)];
        answer.extend(listing);
        self.call(QUERY_DIRECTORY, &request, 0, &answer);
    }
}

pub(crate) fn create(name: &str, options: u32) -> Vec<u8> {
    let name = utf16(name);
    let mut request = bytes![
        57_u16,
        0_u16,
        2_u32,
        0_u64,
        0_u64,
        0x12_0089_u32,
        0_u32,
        7_u32,
        1_u32,
        options,
        120_u16,
        len16(&name),
        0_u32,
        0_u32
    ];
    request.extend(name);
    request
}

pub(crate) fn created(file: u64, size: u64, attributes: u32) -> Vec<u8> {
    bytes![
        89_u16, 0_u16, 1_u32, 1_u64, 2_u64, 3_u64, 4_u64, 0_u64, size, attributes, 0_u32, file,
        file, 0_u32, 0_u32
    ]
}

pub(crate) fn read(file: u64, offset: u64, len: u32) -> Vec<u8> {
    let tail = [0_u8; 17];
    let mut request = bytes![49_u16, 0x50_u16, len, offset, file, file];
    request.extend(tail);
    request
}

pub(crate) fn data_read(data: &[u8]) -> Vec<u8> {
    let mut answer = bytes![17_u16, 80_u16, len32(data), 0_u32, 0_u32];
    answer.extend(data);
    answer
}

pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn len32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

fn len16(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap()
}

pub(crate) const NEGOTIATE: u16 = 0;
pub(crate) const SESSION_SETUP: u16 = 1;
pub(crate) const TREE_CONNECT: u16 = 3;
pub(crate) const TREE_DISCONNECT: u16 = 4;
pub(crate) const CREATE: u16 = 5;
pub(crate) const CLOSE: u16 = 6;
pub(crate) const READ: u16 = 8;
pub(crate) const ECHO: u16 = 13;
pub(crate) const QUERY_DIRECTORY: u16 = 14;
pub(crate) const SET_INFO: u16 = 17;
/// An empty answer that tells of a failure. [MS-SMB2] 2.2.2
pub(crate) const ERROR: [u8; 9] = [9, 0, 0, 0, 0, 0, 0, 0, 0];
/// A request or an answer with nothing in it.
pub(crate) const NOTHING: [u8; 4] = [4, 0, 0, 0];
pub(crate) const NAME_NOT_FOUND: u32 = 0xc000_0034;
pub(crate) const NOT_EMPTY: u32 = 0xc000_0101;
pub(crate) const NORMAL: u32 = 0x80;
pub(crate) const FOLDER: u32 = 0x10;
