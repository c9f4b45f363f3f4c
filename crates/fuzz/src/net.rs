//! The network: sockets that break, one after the other, and two queues of frames on each.
//!
//! A socket that the payer has given up may still hold frames on their way to the payee: those are what the epoch fences
//! off. A socket whose payee has died may still hold frames on their way to the payer.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::action::Party;

pub(crate) type Frame = Vec<u8>;

/// Sockets older than this many are forgotten.
const KEPT: usize = 4;

pub(crate) struct Socket {
    pub(crate) challenge: [u8; 32],
    /// Of the session that it carries, once attached, at the payee's end.
    pub(crate) epoch: Option<u64>,
    /// The payee's end is open.
    payee_end: bool,
    /// The payer's end is open.
    payer_end: bool,
    to_payee: VecDeque<Frame>,
    to_payer: VecDeque<Frame>,
}

/// What a frame can meet with on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weather {
    /// It never arrives, and the connection lives on.
    Lost,
    /// It arrives twice.
    Doubled,
    /// All others arrive before it.
    Overtaken,
    /// It never arrives, and nothing that is on its way does: the connection breaks.
    Cut,
}

impl Weather {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lost, Self::Doubled, Self::Overtaken, Self::Cut];
}

#[derive(Default)]
pub(crate) struct Net {
    sockets: VecDeque<Socket>,
    opened: u8,
}

impl Net {
    /// The payer opens a new socket and gives up the old one.
    pub(crate) fn connect(&mut self) -> [u8; 32] {
        self.payer_died();
        self.opened = self.opened.wrapping_add(1);
        let challenge = [self.opened; 32];
        self.sockets.push_back(Socket {
            challenge,
            epoch: None,
            payee_end: true,
            payer_end: true,
            to_payee: VecDeque::new(),
            to_payer: VecDeque::new(),
        });
        if self.sockets.len() > KEPT {
            self.sockets.pop_front();
        }
        challenge
    }

    pub(crate) fn payer_died(&mut self) {
        for socket in &mut self.sockets {
            socket.payer_end = false;
            socket.to_payer.clear();
        }
    }

    /// Both ends notice.
    pub(crate) fn cut(&mut self) {
        self.payer_died();
        self.payee_died();
    }

    pub(crate) fn payee_died(&mut self) {
        for socket in &mut self.sockets {
            socket.payee_end = false;
            socket.epoch = None;
            socket.to_payee.clear();
        }
    }

    /// From the payer, on the socket that it holds.
    pub(crate) fn send_to_payee(&mut self, frame: Frame) {
        if let Some(socket) = self.sockets.back_mut().filter(|socket| socket.payer_end && socket.payee_end) {
            socket.to_payee.push_back(frame);
        }
    }

    /// From the payee, on one socket.
    pub(crate) fn answer(&mut self, socket: usize, frame: Frame) {
        if let Some(socket) = self.sockets.get_mut(socket).filter(|socket| socket.payee_end && socket.payer_end) {
            socket.to_payer.push_back(frame);
        }
    }

    /// From the payee, on the socket of the newest session.
    pub(crate) fn send_to_payer(&mut self, epoch: u64, frame: Frame) {
        if let Some(index) = self.sockets.iter().rposition(|socket| socket.epoch == Some(epoch)) {
            self.answer(index, frame);
        }
    }

    pub(crate) fn socket(&mut self, index: usize) -> Option<&mut Socket> {
        self.sockets.get_mut(index)
    }

    /// The socket that the payer holds.
    pub(crate) fn current(&self) -> Option<usize> {
        self.sockets.back().filter(|socket| socket.payer_end && socket.payee_end)?;
        self.sockets.len().checked_sub(1)
    }

    /// All frames on their way to one party, each with the socket it is on.
    fn frames(&self, to: Party) -> Vec<(usize, usize)> {
        let queue = |socket: &Socket| match to {
            Party::Payer => socket.to_payer.len(),
            Party::Payee => socket.to_payee.len(),
        };
        let sockets = self.sockets.iter().enumerate();
        sockets.flat_map(|(index, socket)| (0..queue(socket)).map(move |at| (index, at))).collect()
    }

    fn queue(&mut self, to: Party, socket: usize) -> &mut VecDeque<Frame> {
        match to {
            Party::Payer => &mut self.sockets[socket].to_payer,
            Party::Payee => &mut self.sockets[socket].to_payee,
        }
    }

    /// One of the frames on their way to `to`, and its socket; 0 is the oldest.
    pub(crate) fn take(&mut self, to: Party, nth: u8) -> Option<(usize, Frame)> {
        let frames = self.frames(to);
        let &(socket, at) = frames.get(usize::from(nth) % frames.len().max(1))?;
        self.queue(to, socket).remove(at).map(|frame| (socket, frame))
    }

    /// As [`Net::take`], but it stays where it is.
    pub(crate) fn copy(&mut self, to: Party, nth: u8) -> Option<(usize, Frame)> {
        let frames = self.frames(to);
        let &(socket, at) = frames.get(usize::from(nth) % frames.len().max(1))?;
        self.queue(to, socket).get(at).cloned().map(|frame| (socket, frame))
    }
}
