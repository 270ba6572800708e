//! What a client of ours offers when it negotiates: in preparing, and where a captured client's offer is not
//! in the capture.

use smbench_core::{
    frame::Digest,
    smb2::{
        Capabilities, Cipher, Dialect, Guid, HashAlgorithm, NegotiateContext, NegotiateRequest,
        SecurityMode, SigningAlgorithm,
    },
};

/// An offer of all dialects. The salt follows from `salt` alone, so that the same workload is made twice.
pub(crate) fn all_dialects(
    client_guid: Guid,
    capabilities: Capabilities,
    salt: &[u8],
) -> NegotiateRequest {
    NegotiateRequest {
        security_mode: SecurityMode::SIGNING_ENABLED,
        capabilities,
        client_guid,
        client_start_time: 0,
        dialects: vec![
            Dialect::SMB_2_0_2,
            Dialect::SMB_2_1,
            Dialect::SMB_3_0,
            Dialect::SMB_3_0_2,
            Dialect::SMB_3_1_1,
        ],
        contexts: vec![
            NegotiateContext::PreauthIntegrity {
                hash_algorithms: vec![HashAlgorithm::SHA_512],
                salt: Digest::of(salt).0.to_vec(),
            },
            NegotiateContext::Encryption {
                ciphers: vec![Cipher::AES_128_GCM, Cipher::AES_128_CCM],
            },
            NegotiateContext::Signing {
                algorithms: vec![SigningAlgorithm::AES_CMAC],
            },
        ],
    }
}
