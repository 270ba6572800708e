//! The calls that change nothing, interface by interface, in order.
//!
//! Numbers and sections are those of the documents named; some sections are those of a group of calls.
//! On the list is what reads, what opens something for it without making it, and what closes that
//! again. Not on it is what changes something, carries or returns a secret, makes the server open a
//! path or connect to a server that its arguments name (which gives away its credentials, and recorded
//! names are of machines that have no part in a replay), or waits for something to happen.

use super::{KnownCall, KnownInterface};
use crate::rpc::Uuid;

/// In the order of UUIDs, their calls in that of their numbers.
pub(super) static INTERFACES: &[KnownInterface] = &[
    // Not here: what makes the server connect to its caller (62, 65), and whatever names a printer or
    // a print server (0, 1, 10, 12, 15, 16, 35, 36, 51, 69): the spooler asks that server.
    KnownInterface {
        name: "spoolss",
        uuid: Uuid(0x12345678_1234_abcd_ef00_0123456789ab),
        major: 1,
        calls: &[
            call(3, "RpcGetJob", "[MS-RPRN] 3.1.4.3"),
            call(4, "RpcEnumJobs", "[MS-RPRN] 3.1.4.3.3"),
            call(8, "RpcGetPrinter", "[MS-RPRN] 3.1.4.2"),
            call(11, "RpcGetPrinterDriver", "[MS-RPRN] 3.1.4.4"),
            call(26, "RpcGetPrinterData", "[MS-RPRN] 3.1.4.2"),
            call(29, "RpcClosePrinter", "[MS-RPRN] 3.1.4.2.9"),
            call(32, "RpcGetForm", "[MS-RPRN] 3.1.4.5.3"),
            call(34, "RpcEnumForms", "[MS-RPRN] 3.1.4.5.5"),
            call(53, "RpcGetPrinterDriver2", "[MS-RPRN] 3.1.4.4"),
            call(72, "RpcEnumPrinterData", "[MS-RPRN] 3.1.4.2"),
            call(78, "RpcGetPrinterDataEx", "[MS-RPRN] 3.1.4.2"),
            call(79, "RpcEnumPrinterDataEx", "[MS-RPRN] 3.1.4.2"),
            call(80, "RpcEnumPrinterKey", "[MS-RPRN] 3.1.4.2"),
        ],
    },
    // Not here: secure channels, and searches for controllers of a domain (11, 13, 20, 27, 34).
    KnownInterface {
        name: "netlogon",
        uuid: Uuid(0x12345678_1234_abcd_ef00_01234567cffb),
        major: 1,
        calls: &[
            call(28, "DsrGetSiteName", "[MS-NRPC] 3.5.4.3.6"),
            call(40, "DsrEnumerateDomainTrusts", "[MS-NRPC] 3.5.4.7.1"),
        ],
    },
    // Opening takes a mask of rights, which are used by calls that are not here. Not here: secrets
    // (28, 30, 43), LsarOpenPolicyWithCreds (135).
    KnownInterface {
        name: "lsarpc",
        uuid: Uuid(0x12345778_1234_abcd_ef00_0123456789ab),
        major: 0,
        calls: &[
            call(0, "LsarClose", "[MS-LSAD] 3.1.4.9.4"),
            call(2, "LsarEnumeratePrivileges", "[MS-LSAD] 3.1.4.8.1"),
            call(3, "LsarQuerySecurityObject", "[MS-LSAD] 3.1.4.9.1"),
            call(6, "LsarOpenPolicy", "[MS-LSAD] 3.1.4.4.2"),
            call(7, "LsarQueryInformationPolicy", "[MS-LSAD] 3.1.4.4.4"),
            call(11, "LsarEnumerateAccounts", "[MS-LSAD] 3.1.4.5.2"),
            call(13, "LsarEnumerateTrustedDomains", "[MS-LSAD] 3.1.4.7.8"),
            call(14, "LsarLookupNames", "[MS-LSAT] 3.1.4.8"),
            call(15, "LsarLookupSids", "[MS-LSAT] 3.1.4.11"),
            call(17, "LsarOpenAccount", "[MS-LSAD] 3.1.4.5.3"),
            call(18, "LsarEnumeratePrivilegesAccount", "[MS-LSAD] 3.1.4.5.4"),
            call(23, "LsarGetSystemAccessAccount", "[MS-LSAD] 3.1.4.5.7"),
            call(25, "LsarOpenTrustedDomain", "[MS-LSAD] 3.1.4.7.1"),
            call(26, "LsarQueryInfoTrustedDomain", "[MS-LSAD] 3.1.4.7.13"),
            call(31, "LsarLookupPrivilegeValue", "[MS-LSAD] 3.1.4.8.2"),
            call(32, "LsarLookupPrivilegeName", "[MS-LSAD] 3.1.4.8.3"),
            call(33, "LsarLookupPrivilegeDisplayName", "[MS-LSAD] 3.1.4.8.4"),
            call(
                35,
                "LsarEnumerateAccountsWithUserRight",
                "[MS-LSAD] 3.1.4.5.9",
            ),
            call(36, "LsarEnumerateAccountRights", "[MS-LSAD] 3.1.4.5.10"),
            call(39, "LsarQueryTrustedDomainInfo", "[MS-LSAD] 3.1.4.7.2"),
            call(44, "LsarOpenPolicy2", "[MS-LSAD] 3.1.4.4.1"),
            call(45, "LsarGetUserName", "[MS-LSAT] 3.1.4.4"),
            call(46, "LsarQueryInformationPolicy2", "[MS-LSAD] 3.1.4.4.3"),
            call(
                48,
                "LsarQueryTrustedDomainInfoByName",
                "[MS-LSAD] 3.1.4.7.5",
            ),
            call(50, "LsarEnumerateTrustedDomainsEx", "[MS-LSAD] 3.1.4.7.7"),
            call(
                53,
                "LsarQueryDomainInformationPolicy",
                "[MS-LSAD] 3.1.4.4.7",
            ),
            call(55, "LsarOpenTrustedDomainByName", "[MS-LSAD] 3.1.4.7.9"),
            call(57, "LsarLookupSids2", "[MS-LSAT] 3.1.4.10"),
            call(58, "LsarLookupNames2", "[MS-LSAT] 3.1.4.7"),
            call(68, "LsarLookupNames3", "[MS-LSAT] 3.1.4.6"),
            call(
                73,
                "LsarQueryForestTrustInformation",
                "[MS-LSAD] 3.1.4.7.15",
            ),
            call(76, "LsarLookupSids3", "[MS-LSAT] 3.1.4.9"),
            call(77, "LsarLookupNames4", "[MS-LSAT] 3.1.4.5"),
            call(130, "LsarOpenPolicy3", "[MS-LSAD] 3.1.4.4"),
        ],
    },
    // Opening takes a mask of rights, which are used by calls that are not here. Not here: whatever
    // carries a password, SamrValidatePassword (67) too.
    KnownInterface {
        name: "samr",
        uuid: Uuid(0x12345778_1234_abcd_ef00_0123456789ac),
        major: 1,
        calls: &[
            call(0, "SamrConnect", "[MS-SAMR] 3.1.5.1.4"),
            call(1, "SamrCloseHandle", "[MS-SAMR] 3.1.5.13"),
            call(3, "SamrQuerySecurityObject", "[MS-SAMR] 3.1.5.12"),
            call(5, "SamrLookupDomainInSamServer", "[MS-SAMR] 3.1.5.11.1"),
            call(6, "SamrEnumerateDomainsInSamServer", "[MS-SAMR] 3.1.5.2"),
            call(7, "SamrOpenDomain", "[MS-SAMR] 3.1.5.1"),
            call(8, "SamrQueryInformationDomain", "[MS-SAMR] 3.1.5.5"),
            call(11, "SamrEnumerateGroupsInDomain", "[MS-SAMR] 3.1.5.2"),
            call(13, "SamrEnumerateUsersInDomain", "[MS-SAMR] 3.1.5.2"),
            call(15, "SamrEnumerateAliasesInDomain", "[MS-SAMR] 3.1.5.2"),
            call(16, "SamrGetAliasMembership", "[MS-SAMR] 3.1.5.9"),
            call(17, "SamrLookupNamesInDomain", "[MS-SAMR] 3.1.5.11.2"),
            call(18, "SamrLookupIdsInDomain", "[MS-SAMR] 3.1.5.11"),
            call(19, "SamrOpenGroup", "[MS-SAMR] 3.1.5.1"),
            call(20, "SamrQueryInformationGroup", "[MS-SAMR] 3.1.5.5"),
            call(25, "SamrGetMembersInGroup", "[MS-SAMR] 3.1.5.8"),
            call(27, "SamrOpenAlias", "[MS-SAMR] 3.1.5.1"),
            call(28, "SamrQueryInformationAlias", "[MS-SAMR] 3.1.5.5"),
            call(33, "SamrGetMembersInAlias", "[MS-SAMR] 3.1.5.8"),
            call(34, "SamrOpenUser", "[MS-SAMR] 3.1.5.1"),
            call(36, "SamrQueryInformationUser", "[MS-SAMR] 3.1.5.5"),
            call(39, "SamrGetGroupsForUser", "[MS-SAMR] 3.1.5.9"),
            call(40, "SamrQueryDisplayInformation", "[MS-SAMR] 3.1.5.3"),
            call(41, "SamrGetDisplayEnumerationIndex", "[MS-SAMR] 3.1.5.3"),
            call(
                44,
                "SamrGetUserDomainPasswordInformation",
                "[MS-SAMR] 3.1.5.13",
            ),
            call(46, "SamrQueryInformationDomain2", "[MS-SAMR] 3.1.5.5"),
            call(47, "SamrQueryInformationUser2", "[MS-SAMR] 3.1.5.5"),
            call(48, "SamrQueryDisplayInformation2", "[MS-SAMR] 3.1.5.3"),
            call(49, "SamrGetDisplayEnumerationIndex2", "[MS-SAMR] 3.1.5.3"),
            call(51, "SamrQueryDisplayInformation3", "[MS-SAMR] 3.1.5.3"),
            call(56, "SamrGetDomainPasswordInformation", "[MS-SAMR] 3.1.5.13"),
            call(57, "SamrConnect2", "[MS-SAMR] 3.1.5.1"),
            call(62, "SamrConnect4", "[MS-SAMR] 3.1.5.1"),
            call(64, "SamrConnect5", "[MS-SAMR] 3.1.5.1.1"),
            call(65, "SamrRidToSid", "[MS-SAMR] 3.1.5.13"),
        ],
    },
    KnownInterface {
        name: "atsvc",
        uuid: Uuid(0x1ff70682_0a51_30e8_076d_740be8cee98b),
        major: 1,
        calls: &[
            call(2, "NetrJobEnum", "[MS-TSCH] 3.2.5.2.3"),
            call(3, "NetrJobGetInfo", "[MS-TSCH] 3.2.5.2.4"),
        ],
    },
    // Opening takes a mask of rights, which are used by calls that are not here. Not here: what makes
    // a key (6), writes a file (20, 31), or loads libraries to count (3, 32, 33).
    KnownInterface {
        name: "winreg",
        uuid: Uuid(0x338cd001_2244_31f1_aaaa_900038001003),
        major: 1,
        calls: &[
            call(0, "OpenClassesRoot", "[MS-RRP] 3.1.5.1"),
            call(1, "OpenCurrentUser", "[MS-RRP] 3.1.5.2"),
            call(2, "OpenLocalMachine", "[MS-RRP] 3.1.5.3"),
            call(4, "OpenUsers", "[MS-RRP] 3.1.5.5"),
            call(5, "BaseRegCloseKey", "[MS-RRP] 3.1.5.6"),
            call(9, "BaseRegEnumKey", "[MS-RRP] 3.1.5.10"),
            call(10, "BaseRegEnumValue", "[MS-RRP] 3.1.5.11"),
            call(12, "BaseRegGetKeySecurity", "[MS-RRP] 3.1.5.13"),
            call(15, "BaseRegOpenKey", "[MS-RRP] 3.1.5.15"),
            call(16, "BaseRegQueryInfoKey", "[MS-RRP] 3.1.5.16"),
            call(17, "BaseRegQueryValue", "[MS-RRP] 3.1.5.17"),
            call(26, "BaseRegGetVersion", "[MS-RRP] 3.1.5.24"),
            call(27, "OpenCurrentConfig", "[MS-RRP] 3.1.5.25"),
            call(29, "BaseRegQueryMultipleValues", "[MS-RRP] 3.1.5.26"),
            call(34, "BaseRegQueryMultipleValues2", "[MS-RRP] 3.1.5.30"),
        ],
    },
    // Opening takes a mask of rights, which are used by calls that are not here.
    KnownInterface {
        name: "svcctl",
        uuid: Uuid(0x367abb81_9844_35f1_ad32_98f038001003),
        major: 2,
        calls: &[
            call(0, "RCloseServiceHandle", "[MS-SCMR] 3.1.4.1"),
            call(4, "RQueryServiceObjectSecurity", "[MS-SCMR] 3.1.4.5"),
            call(6, "RQueryServiceStatus", "[MS-SCMR] 3.1.4.7"),
            call(13, "REnumDependentServicesW", "[MS-SCMR] 3.1.4.13"),
            call(14, "REnumServicesStatusW", "[MS-SCMR] 3.1.4.14"),
            call(15, "ROpenSCManagerW", "[MS-SCMR] 3.1.4.15"),
            call(16, "ROpenServiceW", "[MS-SCMR] 3.1.4.16"),
            call(17, "RQueryServiceConfigW", "[MS-SCMR] 3.1.4.17"),
            call(18, "RQueryServiceLockStatusW", "[MS-SCMR] 3.1.4.18"),
            call(20, "RGetServiceDisplayNameW", "[MS-SCMR] 3.1.4.20"),
            call(21, "RGetServiceKeyNameW", "[MS-SCMR] 3.1.4.21"),
            call(25, "REnumDependentServicesA", "[MS-SCMR] 3.1.4.24"),
            call(26, "REnumServicesStatusA", "[MS-SCMR] 3.1.4.25"),
            call(27, "ROpenSCManagerA", "[MS-SCMR] 3.1.4.26"),
            call(28, "ROpenServiceA", "[MS-SCMR] 3.1.4.27"),
            call(29, "RQueryServiceConfigA", "[MS-SCMR] 3.1.4.28"),
            call(30, "RQueryServiceLockStatusA", "[MS-SCMR] 3.1.4.29"),
            call(32, "RGetServiceDisplayNameA", "[MS-SCMR] 3.1.4.31"),
            call(33, "RGetServiceKeyNameA", "[MS-SCMR] 3.1.4.32"),
            call(38, "RQueryServiceConfig2A", "[MS-SCMR] 3.1.4.36"),
            call(39, "RQueryServiceConfig2W", "[MS-SCMR] 3.1.4.37"),
            call(40, "RQueryServiceStatusEx", "[MS-SCMR] 3.1.4.38"),
            call(41, "REnumServicesStatusExA", "[MS-SCMR] 3.1.4.39"),
            call(42, "REnumServicesStatusExW", "[MS-SCMR] 3.1.4.40"),
            call(64, "ROpenSCManager2", "[MS-SCMR] 3.1.4.50"),
        ],
    },
    KnownInterface {
        name: "dssetup",
        uuid: Uuid(0x3919286a_b10c_11d0_9ba8_00c04fd92ef5),
        major: 0,
        calls: &[call(
            0,
            "DsRolerGetPrimaryDomainInformation",
            "[MS-DSSP] 3.2.5.1",
        )],
    },
    // Not here: NetprPathType, NetprPathCanonicalize and NetprPathCompare (30 to 32), whose
    // arguments have taken over servers.
    KnownInterface {
        name: "srvsvc",
        uuid: Uuid(0x4b324fc8_1670_01d3_1278_5a47bf6ee188),
        major: 3,
        calls: &[
            call(8, "NetrConnectionEnum", "[MS-SRVS] 3.1.4.1"),
            call(9, "NetrFileEnum", "[MS-SRVS] 3.1.4.2"),
            call(10, "NetrFileGetInfo", "[MS-SRVS] 3.1.4.3"),
            call(12, "NetrSessionEnum", "[MS-SRVS] 3.1.4.5"),
            call(15, "NetrShareEnum", "[MS-SRVS] 3.1.4.8"),
            call(16, "NetrShareGetInfo", "[MS-SRVS] 3.1.4.10"),
            call(20, "NetrShareCheck", "[MS-SRVS] 3.1.4.16"),
            call(21, "NetrServerGetInfo", "[MS-SRVS] 3.1.4.17"),
            call(23, "NetrServerDiskEnum", "[MS-SRVS] 3.1.4.19"),
            call(24, "NetrServerStatisticsGet", "[MS-SRVS] 3.1.4.20"),
            call(26, "NetrServerTransportEnum", "[MS-SRVS] 3.1.4.24"),
            call(28, "NetrRemoteTOD", "[MS-SRVS] 3.1.4.21"),
            call(33, "NetprNameValidate", "[MS-SRVS] 3.1.4.32"),
            call(34, "NetprNameCanonicalize", "[MS-SRVS] 3.1.4.33"),
            call(35, "NetprNameCompare", "[MS-SRVS] 3.1.4.34"),
            call(36, "NetrShareEnumSticky", "[MS-SRVS] 3.1.4.9"),
            call(39, "NetrpGetFileSecurity", "[MS-SRVS] 3.1.4.27"),
            call(43, "NetrDfsGetVersion", "[MS-SRVS] 3.1.4.35"),
            call(55, "NetrServerAliasEnum", "[MS-SRVS] 3.1.4.45"),
        ],
    },
    // Not here: NetrDfsGetInfo and NetrDfsEnumEx (4, 21), whose path names a server to ask.
    KnownInterface {
        name: "netdfs",
        uuid: Uuid(0x4fc742e0_4a10_11cf_8273_00aa004ae673),
        major: 3,
        calls: &[
            call(0, "NetrDfsManagerGetVersion", "[MS-DFSNM] 3.1.4.1.2"),
            call(5, "NetrDfsEnum", "[MS-DFSNM] 3.1.4.1.7"),
        ],
    },
    // Not here: NetrValidateName2 and NetrGetJoinableOUs2 (25, 26), which carry a password.
    KnownInterface {
        name: "wkssvc",
        uuid: Uuid(0x6bffd098_a112_3610_9833_46c3f87e345a),
        major: 1,
        calls: &[
            call(0, "NetrWkstaGetInfo", "[MS-WKST] 3.2.4.1"),
            call(2, "NetrWkstaUserEnum", "[MS-WKST] 3.2.4.3"),
            call(5, "NetrWkstaTransportEnum", "[MS-WKST] 3.2.4.4"),
            call(9, "NetrUseGetInfo", "[MS-WKST] 3.2.4.8"),
            call(11, "NetrUseEnum", "[MS-WKST] 3.2.4.10"),
            call(13, "NetrWorkstationStatisticsGet", "[MS-WKST] 3.2.4.11"),
            call(20, "NetrGetJoinInformation", "[MS-WKST] 3.2.4.12"),
            call(30, "NetrEnumerateComputerNames", "[MS-WKST] 3.2.4.21"),
        ],
    },
    // Not here: ElfrOpenBELW and ElfrOpenBELA (9, 16), which make the server open a path.
    KnownInterface {
        name: "eventlog",
        uuid: Uuid(0x82273fdc_e32a_18c3_3f78_827929dc23ea),
        major: 0,
        calls: &[
            call(2, "ElfrCloseEL", "[MS-EVEN] 3.1.4.21"),
            call(4, "ElfrNumberOfRecords", "[MS-EVEN] 3.1.4.18"),
            call(5, "ElfrOldestRecord", "[MS-EVEN] 3.1.4.19"),
            call(7, "ElfrOpenELW", "[MS-EVEN] 3.1.4.3"),
            call(10, "ElfrReadELW", "[MS-EVEN] 3.1.4.7"),
        ],
    },
    KnownInterface {
        name: "ITaskSchedulerService",
        uuid: Uuid(0x86d35949_83c9_4044_b424_db363231fd0c),
        major: 1,
        calls: &[
            call(0, "SchRpcHighestVersion", "[MS-TSCH] 3.2.5.4.1"),
            call(2, "SchRpcRetrieveTask", "[MS-TSCH] 3.2.5.4.3"),
            call(5, "SchRpcGetSecurity", "[MS-TSCH] 3.2.5.4.6"),
            call(6, "SchRpcEnumFolders", "[MS-TSCH] 3.2.5.4.7"),
            call(7, "SchRpcEnumTasks", "[MS-TSCH] 3.2.5.4.8"),
            call(8, "SchRpcEnumInstances", "[MS-TSCH] 3.2.5.4.9"),
            call(9, "SchRpcGetInstanceInfo", "[MS-TSCH] 3.2.5.4.10"),
            call(15, "SchRpcScheduledRuntimes", "[MS-TSCH] 3.2.5.4.16"),
            call(16, "SchRpcGetLastRunInfo", "[MS-TSCH] 3.2.5.4.17"),
            call(17, "SchRpcGetTaskInfo", "[MS-TSCH] 3.2.5.4.18"),
            call(18, "SchRpcGetNumberOfMissedRuns", "[MS-TSCH] 3.2.5.4.19"),
        ],
    },
    KnownInterface {
        name: "initshutdown",
        uuid: Uuid(0x894de0c0_0d55_11d3_a322_00c04fa321a1),
        major: 1,
        calls: &[],
    },
    // Its queries make the server connect to a path.
    KnownInterface {
        name: "FileServerVssAgent",
        uuid: Uuid(0xa8e0653c_2744_4389_a61d_7373df8b2292),
        major: 1,
        calls: &[],
    },
    // Not here: rpc__mgmt_stop_server_listening (3).
    KnownInterface {
        name: "mgmt",
        uuid: Uuid(0xafa8bd80_7d8a_11c9_bef4_08002b102989),
        major: 1,
        calls: &[
            call(0, "rpc__mgmt_inq_if_ids", "[MS-RPCE] 2.2.1.3"),
            call(1, "rpc__mgmt_inq_stats", "[MS-RPCE] 2.2.1.3"),
            call(2, "rpc__mgmt_is_server_listening", "[MS-RPCE] 2.2.1.3"),
            call(4, "rpc__mgmt_inq_princ_name", "[MS-RPCE] 2.2.1.3"),
        ],
    },
    // Opens paths on other servers.
    KnownInterface {
        name: "efsrpc",
        uuid: Uuid(0xc681d488_d850_11d0_8c52_00c04fd90f7e),
        major: 1,
        calls: &[],
    },
    // The same.
    KnownInterface {
        name: "efsrpc",
        uuid: Uuid(0xdf1941c5_fe89_4e79_bf10_463657acf44d),
        major: 1,
        calls: &[],
    },
    KnownInterface {
        name: "epmapper",
        uuid: Uuid(0xe1af8308_5d1f_11c9_91a4_08002b14a0fa),
        major: 3,
        calls: &[
            call(2, "ept_lookup", "[MS-RPCE] 2.2.1.2"),
            call(3, "ept_map", "[MS-RPCE] 2.2.1.2"),
            call(4, "ept_lookup_handle_free", "[MS-RPCE] 2.2.1.2"),
        ],
    },
    KnownInterface {
        name: "drsuapi",
        uuid: Uuid(0xe3514235_4b06_11d1_ab04_00c04fc2dcd2),
        major: 4,
        calls: &[],
    },
];

const fn call(opnum: u16, name: &'static str, section: &'static str) -> KnownCall {
    KnownCall {
        opnum,
        name,
        section,
    }
}
