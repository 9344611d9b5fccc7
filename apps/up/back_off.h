// How long to wait before a process that died is started again.
#pragma once

#include <chrono>

namespace jade {

class BackOff {
 public:
  // After a run that lasted `ran`. One that did its work for a while starts again soon;
  // one that dies again and again does not keep the machine busy.
  std::chrono::milliseconds next(std::chrono::milliseconds ran);

 private:
  std::chrono::milliseconds last_{0};
};

}  // namespace jade
