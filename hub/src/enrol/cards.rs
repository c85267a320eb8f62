//! Enrolment cards: as text, with a code for scanners in the terminal, and as a page to print and cut.

use std::fmt::Write as _;

use askama::Template;
use lectern_base::clock;
use qrcode::render::{svg, unicode};
use qrcode::{EcLevel, QrCode};

use super::desk::Card;

/// The look of the cards, on paper and on the screen.
pub const STYLE: &str = include_str!("../../assets/cards.css");

/// A card as a page shows it.
struct Shown<'a> {
    card: &'a Card,
    until: String,
    /// The start of the fingerprint: as much as people compare.
    fingerprint: String,
    picture: String,
}

#[derive(Template)]
#[template(path = "cards.html")]
struct CardsPage<'a> {
    school: &'a str,
    cards: Vec<Shown<'a>>,
    /// The style itself, for a file; a page of the console names it instead.
    style: &'a str,
}

/// What a scanner types: both lines of the card in one.
fn scanned(card: &Card) -> String {
    format!("LECTERN {} {}", card.hub, card.code)
}

fn code(card: &Card) -> Option<QrCode> {
    // Lines of some dozen characters: they always fit.
    QrCode::with_error_correction_level(scanned(card), EcLevel::M).ok()
}

fn until(card: &Card) -> String {
    clock::local(card.expires_ms).strftime("%Y-%m-%d %H:%M").to_string()
}

fn fingerprint(card: &Card) -> String {
    card.fingerprint.chars().take(29).collect()
}

/// Cards for a terminal.
#[must_use]
pub fn text(cards: &[Card]) -> String {
    let mut out = String::new();
    for card in cards {
        let Card { room, device, hub, code: typed, uses, .. } = card;
        let picture = code(card).map_or_else(String::new, |code| {
            code.render::<unicode::Dense1x2>()
                .dark_color(unicode::Dense1x2::Light)
                .light_color(unicode::Dense1x2::Dark)
                .build()
        });
        // A text is always written.
        _ = write!(
            out,
            "{room}（{device}）\n  中心地址  {hub}\n  登记码    {typed}\n  有效期    到 {}，可用 {uses} 次\n  中心指纹  {} …\n{picture}\n\n",
            until(card),
            fingerprint(card),
        );
    }
    out
}

/// Cards as a page to print. With `whole` it stands for itself; otherwise the console's own style sheet is named.
///
/// # Errors
/// When the template fails, which would be ours.
pub fn page(school: &str, cards: &[Card], whole: bool) -> Result<String, askama::Error> {
    let shown = cards.iter().map(|card| Shown {
        card,
        until: until(card),
        fingerprint: fingerprint(card),
        picture: code(card).map_or_else(String::new, |code| drawn(&code)),
    });
    CardsPage { school, cards: shown.collect(), style: if whole { STYLE } else { "" } }.render()
}

/// The drawing without the line that makes it a document of its own.
fn drawn(code: &QrCode) -> String {
    let svg = code.render::<svg::Color<'_>>().min_dimensions(120, 120).build();
    svg.split_once("?>").map_or(svg.clone(), |(_, drawing)| drawing.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_says_all_a_room_needs_on_paper_and_in_the_terminal() {
        let card = Card {
            token: "t".into(),
            room: "<301>教室".into(),
            device: "room-301".into(),
            school: "3401000001".into(),
            code: "7K2M-9QXR-0TBC-WD4F".into(),
            hub: "10.0.0.5:8470".into(),
            fingerprint: "AB:".repeat(31) + "AB",
            uses: 1,
            standing: "unused".into(),
            expires_ms: 1_790_000_000_000,
            used_ms: None,
        };
        let cards = [card];
        let (text, page) = (text(&cards), page("示范学校", &cards, true).expect("rendered"));
        for said in ["room-301", "10.0.0.5:8470", "7K2M-9QXR-0TBC-WD4F"] {
            assert!(text.contains(said) && page.contains(said), "{said}");
        }
        assert!(!page.contains("<301>") && page.contains("<svg") && page.contains("<style>"), "{page}");
        assert!(!super::page("x", &cards, false).expect("rendered").contains("<style>"));
    }
}
