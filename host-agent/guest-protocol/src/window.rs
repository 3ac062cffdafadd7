//! Flow control: how much of a stream may be under way.
//!
//! Each direction of a stream begins with [`WINDOW`] bytes. A DATA frame costs its payload and
//! [`FRAME_COST`]; the receiver gives back with CREDIT what it has dealt with. So no side ever holds
//! more than a window per stream, whatever the other does.

use crate::{FRAME_COST, WINDOW};

/// What a DATA frame with so many bytes costs.
#[must_use]
pub fn cost(payload: usize) -> u32 {
    u32::try_from(payload).unwrap_or(u32::MAX).saturating_add(FRAME_COST)
}

/// What this side may still send.
#[derive(Debug, Clone)]
pub struct SendWindow {
    left: u32,
}

impl Default for SendWindow {
    fn default() -> Self {
        Self { left: WINDOW }
    }
}

impl SendWindow {
    /// Payload bytes that the next frame may carry; 0: wait for credit.
    #[must_use]
    pub fn room(&self) -> usize {
        (self.left.saturating_sub(FRAME_COST) as usize).min(crate::MAX_PAYLOAD)
    }

    /// A frame with so many bytes goes out.
    pub fn sent(&mut self, payload: usize) {
        self.left = self.left.saturating_sub(cost(payload));
    }

    /// The other side gave credit. `false`: more than a window, which breaks the protocol.
    #[must_use]
    pub fn granted(&mut self, bytes: u32) -> bool {
        match self.left.checked_add(bytes) {
            Some(left) if left <= WINDOW => {
                self.left = left;
                true
            }
            _ => false,
        }
    }
}

/// What the other side may still send.
#[derive(Debug, Clone)]
pub struct ReceiveWindow {
    left: u32,
    taken: u32,
}

impl Default for ReceiveWindow {
    fn default() -> Self {
        Self { left: WINDOW, taken: 0 }
    }
}

impl ReceiveWindow {
    /// A frame with so many bytes came. `false`: more than was allowed, which breaks the protocol.
    #[must_use]
    pub fn received(&mut self, payload: usize) -> bool {
        match self.left.checked_sub(cost(payload)) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// A frame with so many bytes was dealt with. The credit to give back now, once half a window has come together.
    #[must_use]
    pub fn consumed(&mut self, payload: usize) -> Option<u32> {
        self.taken = self.taken.saturating_add(cost(payload));
        if self.taken < WINDOW / 2 {
            return None;
        }
        let back = std::mem::take(&mut self.taken);
        self.left = self.left.saturating_add(back).min(WINDOW);
        Some(back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_that_waits_for_credit_is_never_refused() {
        let (mut out, mut back) = (SendWindow::default(), ReceiveWindow::default());
        let mut moved = 0_usize;
        while moved < 4 * WINDOW as usize {
            let piece = out.room();
            assert!(piece > 0, "stuck after {moved}");
            out.sent(piece);
            assert!(back.received(piece));
            moved += piece;
            if let Some(credit) = back.consumed(piece) {
                assert!(out.granted(credit));
            }
        }
    }

    #[test]
    fn more_than_a_window_is_refused() {
        let mut back = ReceiveWindow::default();
        let frames = WINDOW / FRAME_COST;
        assert!((0..frames).all(|_| back.received(0)), "empty frames cost too");
        assert!(!back.received(0));
        assert!(!SendWindow::default().granted(1));
    }
}
