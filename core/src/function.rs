//! What a request asks for, beyond its command: the function of an IOCTL, the class of an information.
//!
//! A file server has many functions that depend on what is below it (its volumes, backups, other servers). The
//! model server has none of that: such requests are answered as they were recorded.

use crate::smb2::{Command, FileInfoClass, FsInfoClass, Fsctl, InfoType, Request};

/// What a request asks for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Function {
    command: Command,
    /// InfoType of QUERY_INFO and SET_INFO, else 0.
    info_type: u8,
    /// CtlCode of an IOCTL, class of information; else 0.
    code: u32,
}

impl Function {
    /// That of a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let (info_type, code) = match request {
            Request::Ioctl(it) => (0, it.ctl_code.0),
            Request::QueryInfo(it) => (it.info_type.0, it.file_info_class.0.into()),
            Request::SetInfo(it) => (it.info_type.0, it.file_info_class.0.into()),
            Request::QueryDirectory(it) => (0, it.file_information_class.0.into()),
            _ => (0, 0),
        };
        Self {
            command: request.command(),
            info_type,
            code,
        }
    }

    /// That of an IOCTL.
    #[must_use]
    pub const fn of_ioctl(function: Fsctl) -> Self {
        Self {
            command: Command::IOCTL,
            info_type: 0,
            code: function.0,
        }
    }

    /// That of a request whose body is encoded. [MS-SMB2] 2.2.31, 2.2.33, 2.2.37, 2.2.39.
    #[must_use]
    pub fn of_body(command: Command, body: &[u8]) -> Self {
        let byte = |at: usize| body.get(at).copied().unwrap_or_default();
        let (info_type, code) = match command {
            Command::IOCTL => (0, u32::from_le_bytes([byte(4), byte(5), byte(6), byte(7)])),
            Command::QUERY_INFO | Command::SET_INFO => (byte(2), byte(3).into()),
            Command::QUERY_DIRECTORY => (0, byte(2).into()),
            _ => (0, 0),
        };
        Self {
            command,
            info_type,
            code,
        }
    }

    /// Whether it is information of a file or volume that is asked for or set.
    #[must_use]
    pub fn is_information(self) -> bool {
        let commands = [
            Command::QUERY_INFO,
            Command::SET_INFO,
            Command::QUERY_DIRECTORY,
        ];
        commands.contains(&self.command)
    }

    /// Whether the model server knows by itself what to answer, be it that there is no such thing.
    #[must_use]
    pub fn is_modelled(self) -> bool {
        let class = u8::try_from(self.code).unwrap_or(u8::MAX);
        match (self.command, InfoType(self.info_type)) {
            (Command::IOCTL, _) => MODELLED_FSCTLS.contains(&Fsctl(self.code)),
            (Command::QUERY_INFO, InfoType::FILE) => QUERIED.contains(&FileInfoClass(class)),
            (Command::QUERY_INFO, InfoType::FILESYSTEM) => {
                VOLUME_QUERIED.contains(&FsInfoClass(class))
            }
            (Command::SET_INFO, InfoType::FILE) => SET.contains(&FileInfoClass(class)),
            (Command::SET_INFO, InfoType::FILESYSTEM)
            | (Command::QUERY_INFO | Command::SET_INFO, InfoType::QUOTA) => false,
            (Command::QUERY_DIRECTORY, _) => LISTED.contains(&FileInfoClass(class)),
            _ => true,
        }
    }

    /// Whether what comes back is kept in workloads: nobody can compute it.
    #[must_use]
    pub fn keeps_output(self) -> bool {
        let on_pipes = [Fsctl::PIPE_TRANSCEIVE, Fsctl::PIPE_PEEK].contains(&Fsctl(self.code));
        !self.is_modelled() || self.command == Command::IOCTL && on_pipes
    }
}

const MODELLED_FSCTLS: [Fsctl; 16] = [
    Fsctl::SET_REPARSE_POINT,
    Fsctl::GET_REPARSE_POINT,
    Fsctl::DELETE_REPARSE_POINT,
    Fsctl::CREATE_OR_GET_OBJECT_ID,
    Fsctl::SET_SPARSE,
    Fsctl::QUERY_ALLOCATED_RANGES,
    Fsctl::SET_ZERO_DATA,
    Fsctl::GET_COMPRESSION,
    Fsctl::PIPE_PEEK,
    Fsctl::PIPE_WAIT,
    Fsctl::PIPE_TRANSCEIVE,
    Fsctl::SRV_COPYCHUNK,
    Fsctl::SRV_COPYCHUNK_WRITE,
    Fsctl::SRV_REQUEST_RESUME_KEY,
    Fsctl::QUERY_NETWORK_INTERFACE_INFO,
    Fsctl::VALIDATE_NEGOTIATE_INFO,
];

const QUERIED: [FileInfoClass; 19] = [
    FileInfoClass::BASIC,
    FileInfoClass::STANDARD,
    FileInfoClass::INTERNAL,
    FileInfoClass::EA,
    FileInfoClass::ACCESS,
    FileInfoClass::NAME,
    FileInfoClass::NORMALIZED_NAME,
    FileInfoClass::POSITION,
    FileInfoClass::FULL_EA,
    FileInfoClass::MODE,
    FileInfoClass::ALIGNMENT,
    FileInfoClass::ALL,
    FileInfoClass::ALTERNATE_NAME,
    FileInfoClass::STREAM,
    FileInfoClass::COMPRESSION,
    FileInfoClass::NETWORK_OPEN,
    FileInfoClass::ATTRIBUTE_TAG,
    FileInfoClass::ID,
    FileInfoClass::POSIX,
];

const VOLUME_QUERIED: [FsInfoClass; 9] = [
    FsInfoClass::VOLUME,
    FsInfoClass::SIZE,
    FsInfoClass::DEVICE,
    FsInfoClass::ATTRIBUTE,
    FsInfoClass::CONTROL,
    FsInfoClass::FULL_SIZE,
    FsInfoClass::OBJECT_ID,
    FsInfoClass::SECTOR_SIZE,
    FsInfoClass::POSIX,
];

const SET: [FileInfoClass; 13] = [
    FileInfoClass::BASIC,
    FileInfoClass::RENAME,
    FileInfoClass::LINK,
    FileInfoClass::DISPOSITION,
    FileInfoClass::DISPOSITION_EX,
    FileInfoClass::RENAME_EX,
    FileInfoClass::LINK_EX,
    FileInfoClass::POSITION,
    FileInfoClass::FULL_EA,
    FileInfoClass::MODE,
    FileInfoClass::ALLOCATION,
    FileInfoClass::END_OF_FILE,
    FileInfoClass::VALID_DATA_LENGTH,
];

const LISTED: [FileInfoClass; 13] = [
    FileInfoClass::DIRECTORY,
    FileInfoClass::FULL_DIRECTORY,
    FileInfoClass::BOTH_DIRECTORY,
    FileInfoClass::NAMES,
    FileInfoClass::ID_BOTH_DIRECTORY,
    FileInfoClass::ID_FULL_DIRECTORY,
    FileInfoClass::ID_EXTD_DIRECTORY,
    FileInfoClass::ID_EXTD_BOTH_DIRECTORY,
    FileInfoClass::ID_64_EXTD_DIRECTORY,
    FileInfoClass::ID_64_EXTD_BOTH_DIRECTORY,
    FileInfoClass::ID_ALL_EXTD_DIRECTORY,
    FileInfoClass::ID_ALL_EXTD_BOTH_DIRECTORY,
    FileInfoClass::POSIX,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smb2::{IoctlRequest, QueryDirectoryRequest, QueryInfoRequest, SetInfoRequest};

    #[test]
    fn a_body_tells_the_same_as_its_request() {
        let (info_type, file_info_class) = (InfoType::FILESYSTEM, FsInfoClass::CONTROL.into());
        let requests: [Request; 4] = [
            IoctlRequest {
                ctl_code: Fsctl::SRV_ENUMERATE_SNAPSHOTS,
                ..IoctlRequest::default()
            }
            .into(),
            QueryInfoRequest {
                info_type,
                file_info_class,
                ..QueryInfoRequest::default()
            }
            .into(),
            SetInfoRequest {
                info_type,
                file_info_class,
                ..SetInfoRequest::default()
            }
            .into(),
            QueryDirectoryRequest {
                file_information_class: FileInfoClass::NAMES,
                ..QueryDirectoryRequest::default()
            }
            .into(),
        ];
        for request in requests {
            let function = Function::of(&request);
            assert_ne!(function.code, 0);
            let (mut header, mut frame) = (crate::smb2::Header::default(), Vec::new());
            header.command = request.command();
            crate::smb2::Message::new(header, crate::smb2::Body::Request(request))
                .encode(&[], &mut frame);
            let body = frame.get(64..).unwrap();
            assert_eq!(Function::of_body(header.command, body), function);
        }
    }
}
