// What other nodes have sent and this one has not dealt with yet, bounded for each of the
// connections by which it comes.
//
// CAF takes from a socket whatever is there, and mailboxes have no end. So what comes is
// counted in two states, and each has a bound of its own:
//
//   socket ──► waiting ──────────────► taken ─────────► gone
//              in mailboxes            requests         its message is destroyed, or it
//              above the bound the     above it they    was answered
//              socket is not read      are refused
//
// An actor that runs works off its mailbox and needs nobody for that, so what waits becomes
// less and the socket is read again: nodes cannot block each other. What was taken may wait
// for others, for a majority say that comes by the same connection. It must never keep the
// socket from being read, so it is refused instead, as clients are (actors/gateway.h).
//
// In the simulator, which has connections of its own, nothing is counted.
#pragma once

#include <atomic>
#include <caf/all.hpp>
#include <functional>
#include <memory>

#include "storage/status.h"

namespace jade {

// One connection. All of it for any thread.
class Inflow {
 public:
  // Whoever works needs a fraction of it to be kept busy meanwhile.
  static constexpr size_t waiting_bytes_max = 32u << 20;
  // Twice what a gateway has in flight. One request may be longer, alone.
  static constexpr size_t taken_bytes_max = 512u << 20;
  // That a message takes up whatever is in it.
  static constexpr size_t message_bytes = 512;

  // `go_on` is called when more is to be read, once after each pause(), by any thread.
  explicit Inflow(std::function<void()> go_on) : go_on_(std::move(go_on)) {}

  // Whether more waits than may. Then nothing is to be read until go_on() is called, which
  // may be before this returns.
  bool pause();
  size_t waiting_bytes() const { return waiting_.load(); }
  size_t taken_bytes() const { return taken_.load(); }

 private:
  friend class Receipt;

  void leave_mailbox(size_t bytes);
  bool take(size_t bytes);

  std::function<void()> go_on_;
  std::atomic<size_t> waiting_{0}, taken_{0};
  std::atomic<bool> paused_{false};
};

// One message of a connection: counts for as long as it lives.
class Receipt {
 public:
  Receipt(std::shared_ptr<Inflow> inflow, size_t message_bytes);
  ~Receipt();
  Receipt(const Receipt&) = delete;
  Receipt& operator=(const Receipt&) = delete;

  // It is to be dealt with, which may take long. resource_exhausted: more than may be is
  // already. Of whoever works on the message.
  Status take();

 private:
  std::shared_ptr<Inflow> inflow_;
  size_t bytes_;
  bool taken_ = false;
};

// One of those who hold a receipt; or none.
class ReceiptPtr {
 public:
  ReceiptPtr() = default;
  ReceiptPtr(std::shared_ptr<Receipt> receipt) : receipt_(std::move(receipt)) {}
  ReceiptPtr(const ReceiptPtr&) = default;
  ReceiptPtr(ReceiptPtr&&) noexcept = default;
  ReceiptPtr& operator=(const ReceiptPtr&) = default;
  ReceiptPtr& operator=(ReceiptPtr&&) noexcept = default;
  // Inline, GCC 12 takes messages that have one for destroyed before they are made.
  ~ReceiptPtr();

  Receipt* operator->() const { return receipt_.get(); }
  explicit operator bool() const { return receipt_ != nullptr; }

 private:
  std::shared_ptr<Receipt> receipt_;
};

// A message for a mailbox that has come by a connection.
caf::mailbox_element_ptr with_receipt(caf::mailbox_element_ptr element, ReceiptPtr receipt);

// That of the message that this actor works on at the moment; null: it came from this node.
ReceiptPtr receipt_of_current(caf::local_actor& self);

}  // namespace jade
