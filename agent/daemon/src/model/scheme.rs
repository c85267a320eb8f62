//! 认证方案: what a lesson can be put forward for. Rules differ from county to county, so they are settings.

/// A certification scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme {
    /// For example `weinengli2`.
    pub id: String,
    /// For example 微能力2.0.
    pub name: String,
    /// Its points; none where the lesson itself is put forward.
    pub points: Vec<Point>,
    /// Points a teacher needs.
    pub points_needed: u32,
    /// Longest clip for a point, minutes.
    pub clip_max_minutes: u32,
    /// Grades, best first.
    pub grades: Vec<String>,
}

/// A point of a scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// For example A5.
    pub code: String,
    /// For example 技术支持的课堂导入.
    pub name: String,
    /// For example 多媒体教学环境.
    pub environment: String,
}

impl Scheme {
    /// Whether a lesson can be put forward for this point of the scheme.
    #[must_use]
    pub fn takes(&self, point: &str) -> bool {
        if self.points.is_empty() { point.is_empty() } else { self.points.iter().any(|p| p.code == point) }
    }
}
