//! 告警: one retained message per device and problem, on `a/{code}`; cleared by `"state": "cleared"`.

use serde::{Deserialize, Serialize};

/// What is wrong, one code per problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 离线; the hub's own.
    Offline,
    /// 程序被停止; the hub's own.
    AgentStopped,
    /// 数据断号; the hub's own.
    SequenceGap,
    /// 时钟异常
    ClockWrong,
    /// 磁盘将满
    DiskNearlyFull,
    /// 系统盘还原
    DiskRestore,
    /// 温度高
    Hot,
    /// 摄像头无画面
    CameraNoPicture,
    /// 话筒无声音
    MicrophoneNoSound,
    /// 显示异常
    DisplayFault,
    /// 网络慢
    NetworkSlow,
    /// 录课失败
    RecordingFailed,
    /// 上传积压
    UploadBacklog,
    /// 版本过旧; the hub's own.
    VersionOld,
    /// 非登记采集设备
    UnknownCaptureDevice,
    /// 存证日志不一致
    LogMismatch,
    /// 录课与存证不符
    EvidenceMismatch,
    /// 电脑被复制: another machine speaks with this one's id and password; the hub's own.
    MachineCopied,
}

impl Code {
    /// All codes: topic level, what people call it, and what a technician does next.
    pub const ALL: [(Self, &'static str, &'static str, &'static str); 18] = [
        (Self::Offline, "offline", "离线", "看教室电脑是否开机、网线是否插好"),
        (
            Self::AgentStopped,
            "agent_stopped",
            "程序被停止",
            "在这台电脑上启动 lectern 服务，并查明是谁停止的",
        ),
        (Self::SequenceGap, "sequence_gap", "数据断号", "查看这台设备的日志，确认数据是否被删除"),
        (Self::ClockWrong, "clock_wrong", "时钟异常", "校准时间；经常出错就更换主板电池"),
        (
            Self::DiskNearlyFull,
            "disk_nearly_full",
            "磁盘将满",
            "让积压的录课上传完，或清理其他文件；磁盘成了只读的，要检查、修好或换掉",
        ),
        (Self::DiskRestore, "disk_restore", "系统盘还原", "把数据目录移到不还原的分区"),
        (Self::Hot, "hot", "温度高", "清理风扇和散热口的灰尘"),
        (Self::CameraNoPicture, "camera_no_picture", "摄像头无画面", "检查摄像头的电源、网线和地址"),
        (Self::MicrophoneNoSound, "microphone_no_sound", "话筒无声音", "检查讲台话筒的开关、电池和插头"),
        (Self::DisplayFault, "display_fault", "显示异常", "检查显示设备的电源和信号线"),
        (Self::NetworkSlow, "network_slow", "网络慢", "检查网线和交换机端口"),
        (Self::RecordingFailed, "recording_failed", "录课失败", "运行 lectern doctor，按提示处理"),
        (Self::UploadBacklog, "upload_backlog", "上传积压", "检查到中心的网络，电脑先不要关机"),
        (Self::VersionOld, "version_old", "版本过旧", "升级这台电脑上的 lectern"),
        (Self::UnknownCaptureDevice, "unknown_capture_device", "非登记采集设备", "到教室确认这是谁接上的"),
        (
            Self::LogMismatch,
            "log_mismatch",
            "存证日志不一致",
            "请管理员在中心运行 lectern-hub log check；本机录课会一直保留",
        ),
        (
            Self::EvidenceMismatch,
            "evidence_mismatch",
            "录课与存证不符",
            "保留这台电脑，在本机运行 lectern verify，查明哪一段被改动",
        ),
        (
            Self::MachineCopied,
            "machine_copied",
            "电脑被复制",
            "给复制出来的电脑登记新的编号；如果是这间教室换了电脑，在设备登记里给它换密码",
        ),
    ];

    fn row(self) -> &'static (Self, &'static str, &'static str, &'static str) {
        Self::ALL.iter().find(|row| row.0 == self).unwrap_or(&Self::ALL[0])
    }

    /// Its topic level.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What people call it.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// What a technician does next.
    #[must_use]
    pub fn next_step(self) -> &'static str {
        self.row().3
    }

    /// The code of a topic level.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }
}

/// The payload of `a/{code}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Alarm {
    /// What is wrong; the same as the topic's last level.
    pub code: Code,
    /// See [`AlarmState`].
    pub state: AlarmState,
    /// When it was raised, Unix milliseconds by the device's clock.
    pub since_ts: i64,
    /// When this was said, Unix milliseconds by the device's clock.
    pub ts: i64,
    /// What exactly, in a sentence; names a source or a number, never a person.
    pub detail: String,
    /// What to do next, in a sentence.
    pub next_step: String,
}

/// Whether an alarm holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// It holds.
    Raised,
    /// It is over.
    Cleared,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_row_and_its_name_is_how_it_is_written() {
        for (n, (code, name, ..)) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, n, "the rows stand in the order of the codes");
            assert_eq!(Code::from_name(name), Some(code));
            assert_eq!(serde_json::to_value(code).expect("json"), name);
        }
    }
}
