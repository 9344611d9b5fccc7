#include "actors/inflow.h"

namespace jade {
namespace {

// As CAF's own for messages that were read from bytes, and the receipt.
class Arrived final : public caf::mailbox_element {
 public:
  Arrived(caf::mailbox_element& read, ReceiptPtr own)
      : mailbox_element(std::move(read.sender), read.mid, std::move(read.stages)),
        receipt(std::move(own)),
        message_(read.move_content_to_message()) {}

  caf::type_erased_tuple& content() override {
    if (!message_.cvals()) return nothing_;
    return message_.vals().unshared();
  }
  const caf::type_erased_tuple& content() const override {
    if (!message_.cvals()) return nothing_;
    return *message_.cvals();
  }
  caf::message move_content_to_message() override { return std::move(message_); }
  caf::message copy_content_to_message() const override { return message_; }

  const ReceiptPtr receipt;

 private:
  caf::message message_;
  caf::empty_type_erased_tuple nothing_;
};

}  // namespace

bool Inflow::pause() {
  if (waiting_.load() <= waiting_bytes_max) return false;
  paused_.store(true);
  // All of it may be gone since, with nobody left to see the mark.
  return waiting_.load() > waiting_bytes_max / 2 || !paused_.exchange(false);
}

void Inflow::leave_mailbox(size_t bytes) {
  size_t left = waiting_.fetch_sub(bytes) - bytes;
  if (left <= waiting_bytes_max / 2 && paused_.exchange(false)) go_on_();
}

bool Inflow::take(size_t bytes) {
  size_t before = taken_.fetch_add(bytes);
  if (before == 0 || before + bytes <= taken_bytes_max) return true;
  taken_.fetch_sub(bytes);
  return false;
}

Receipt::Receipt(std::shared_ptr<Inflow> inflow, size_t message_bytes)
    : inflow_(std::move(inflow)), bytes_(message_bytes + Inflow::message_bytes) {
  inflow_->waiting_.fetch_add(bytes_);
}

Receipt::~Receipt() {
  if (taken_) {
    inflow_->taken_.fetch_sub(bytes_);
  } else {
    inflow_->leave_mailbox(bytes_);
  }
}

Status Receipt::take() {
  if (taken_) return {};
  if (!inflow_->take(bytes_)) {
    return Status(Code::resource_exhausted,
                  "a node has " + std::to_string(inflow_->taken_bytes() >> 20) +
                      " MiB of requests with another that are not answered yet; try again in a "
                      "second");
  }
  taken_ = true;
  inflow_->leave_mailbox(bytes_);
  return {};
}

ReceiptPtr::~ReceiptPtr() = default;

caf::mailbox_element_ptr with_receipt(caf::mailbox_element_ptr element, ReceiptPtr receipt) {
  return caf::mailbox_element_ptr(new Arrived(*element, std::move(receipt)));
}

ReceiptPtr receipt_of_current(caf::local_actor& self) {
  auto* arrived = dynamic_cast<Arrived*>(self.current_mailbox_element());
  return arrived != nullptr ? arrived->receipt : ReceiptPtr();
}

}  // namespace jade
