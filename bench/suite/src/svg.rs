//! The plot: a bar per server in each row, whose length is the ratio to `raw` on a logarithmic scale.
//! `raw` itself is the line at 1.

use crate::results::{Results, RowResult};
use crate::rows::{Key, Target};
use std::fmt::Write;

const LABELS: f64 = 330.0;
const WIDTH: f64 = 1000.0;
const BAR: f64 = 11.0;
const GAP: f64 = 14.0;
const TOP: f64 = 74.0;
const MOST: f64 = 100.0;
const LEAST: f64 = 0.5;
/// Distinguishable also for colour-blind readers (the palette of Okabe and Ito, and two greys).
const COLOURS: [(&str, &str); 9] = [
    ("tt", "#444444"),
    ("sprocket", "#d55e00"),
    ("sprocket-loop", "#e69f00"),
    ("uwebsockets", "#000000"),
    ("swoole", "#0072b2"),
    ("workerman", "#56b4e9"),
    ("ratchet", "#cc79a7"),
    ("amphp", "#009e73"),
    ("node", "#b8a900"),
];

fn colour(server: &str) -> &'static str {
    COLOURS.iter().find(|(name, _)| *name == server).map_or("#777777", |(_, colour)| colour)
}

fn x(ratio: f64) -> f64 {
    let share = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LABELS + share * (WIDTH - LABELS - 60.0)
}

/// The complete results.svg.
pub(crate) fn plot(results: &Results) -> String {
    let rows: Vec<&RowResult> = results.rows.iter().filter(|row| !bars(row).is_empty()).collect();
    let height = TOP + 30.0 + rows.iter().map(|r| bars(r).len() as f64 * BAR + GAP).sum::<f64>();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\">CPU time per message (latency where noted), \
         as a multiple of raw system calls; shorter is better</text>\n"
    );
    legend(results, &mut svg);
    axis(height, &mut svg);
    let mut y = TOP;
    for row in rows {
        y = group(row, y, &mut svg);
    }
    svg + "</svg>\n"
}

fn legend(results: &Results, svg: &mut String) {
    let mut at = 10.0;
    for server in results.participants.iter().filter(|p| p.missing.is_none() && p.name != "raw") {
        let (fill, name) = (colour(&server.name), escape(&server.name));
        let _ = writeln!(
            svg,
            "<rect x=\"{at}\" y=\"34\" width=\"11\" height=\"11\" fill=\"{fill}\"/>\
             <text x=\"{}\" y=\"44\">{name}</text>",
            at + 15.0
        );
        at += 32.0 + 6.5 * server.name.len() as f64;
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{at} 33v13\" stroke=\"#d55e00\" stroke-width=\"2\"/>\
         <text x=\"{}\" y=\"44\">target of sprocket</text>",
        at + 6.0
    );
}

fn axis(height: f64, svg: &mut String) {
    for tick in [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        let (at, stroke) = (x(tick), if tick == 1.0 { "#888888" } else { "#dddddd" });
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {}V{:.1}\" stroke=\"{stroke}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555555\">{tick}×</text>",
            TOP - 8.0,
            height - 20.0,
            TOP - 12.0
        );
    }
}

fn bars(row: &RowResult) -> Vec<(&str, f64)> {
    let ratio = |m| Some((row.of(m)?.server.as_str(), row.times_raw(row.row.main.key, row.of(m)?)?));
    let others = row.servers.iter().filter(|measured| measured.server != "raw");
    others.filter_map(|measured| ratio(&measured.server)).collect()
}

fn group(row: &RowResult, top: f64, svg: &mut String) -> f64 {
    let bars = bars(row);
    let bottom = top + bars.len() as f64 * BAR;
    let _ = writeln!(
        svg,
        "<text x=\"10\" y=\"{:.1}\">{}{}</text>",
        f64::midpoint(top, bottom) + 4.0,
        escape(row.row.title),
        match row.row.main.key {
            Key::Latency => " (p50)",
            Key::Tail => " (p99)",
            Key::Cpu | Key::Memory => "",
        }
    );
    for (i, (server, ratio)) in bars.iter().enumerate() {
        let y = top + i as f64 * BAR;
        let (from, to) = (x(1.0).min(x(*ratio)), x(1.0).max(x(*ratio)));
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"9\" fill=\"#333333\">{ratio:.2}</text>",
            (to - from).max(1.5),
            BAR - 2.0,
            colour(server),
            to + 4.0,
            y + 8.0
        );
        if let (&"sprocket", Some(Target::TimesRaw(most))) = (server, row.row.main.target) {
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {:.1}v{}\" stroke=\"#d55e00\" stroke-width=\"2\"/>",
                x(most),
                y - 2.0,
                BAR + 2.0
            );
        }
    }
    bottom + GAP
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn a_bar_for_each_server_and_a_mark_for_the_target() {
        let svg = plot(&sample());
        assert!(svg.contains(">1.50</text>"));
        assert_eq!(svg.matches(colour("sprocket")).count(), 4);
        assert!(!svg.contains(">1.00</text>"), "raw has no bar");
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn the_scale_is_logarithmic() {
        assert!((x(2.0) - x(1.0) - (x(4.0) - x(2.0))).abs() < 1e-9);
    }
}
