//! An encoded packet on its way, and times that can be compared whatever their base.

use ffmpeg_next::{Packet, Rational};

/// A time in an encoder's clock.
#[derive(Debug, Clone, Copy)]
pub struct At(pub i64, pub Rational);

impl At {
    /// The same time in another base, rounded down.
    pub fn to(self, base: Rational) -> i64 {
        let Self(time, from) = self;
        let (up, down) = (i128::from(from.0) * i128::from(base.1), i128::from(from.1) * i128::from(base.0));
        i64::try_from((i128::from(time) * up).div_euclid(down.max(1))).unwrap_or(0)
    }

    /// Microseconds.
    pub fn micros(self) -> i64 {
        self.to(Rational(1, 1_000_000))
    }
}

/// An encoded packet that waits.
#[derive(Clone)]
pub struct Waiting {
    pub packet: Packet,
    /// Of the packet's times.
    pub base: Rational,
    /// Sound, else picture.
    pub sound: bool,
}

impl Waiting {
    /// When it is shown or heard.
    pub fn at(&self) -> At {
        At(self.packet.pts().unwrap_or(0), self.base)
    }

    /// Whether decoding can begin with it.
    pub fn is_key(&self) -> bool {
        !self.sound && self.packet.is_key()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A small picture of tick `n` at 25 a second, a key frame every 50.
    pub fn picture(tick: i64) -> Waiting {
        let mut packet = Packet::copy(&[0; 8]);
        packet.set_pts(Some(tick));
        packet.set_dts(Some(tick));
        if tick % 50 == 0 {
            packet.set_flags(ffmpeg_next::packet::Flags::KEY);
        }
        Waiting { packet, base: Rational(1, 25), sound: false }
    }

    #[test]
    fn times_are_the_same_in_every_base() {
        let at = At(50, Rational(1, 25));
        assert_eq!((at.to(Rational(1, 48_000)), at.to(Rational(1, 90_000))), (96_000, 180_000));
        assert_eq!(At(-1, Rational(1, 25)).to(Rational(1, 1)), -1);
    }
}
