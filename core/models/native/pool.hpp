// The threads of the native step: as many as asked, asleep between calls, in step with each other within one.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>
#include <sched.h>

#include "vectors.hpp"

namespace qw {

constexpr int PATIENT_SPINS = 4000;  // some 30 microseconds; then others may have the core

inline void breathe(int& spins) {
    if (++spins < PATIENT_SPINS) {
#if defined(__x86_64__)
        _mm_pause();
#endif
    } else {
        sched_yield();
    }
}

class Pool {
   public:
    // work(thread) on every thread, the caller being number 0.
    void run(int threads, const std::function<void(int)>& work) {
        std::lock_guard<std::mutex> one_at_a_time(calls_);
        grow(threads);
        width_ = threads;
        waiting_ = 0;
        work_ = &work;
        done_ = 0;
        if (threads > 1) {
            {
                std::lock_guard<std::mutex> lock(mutex_);
                round_.fetch_add(1, std::memory_order_release);
            }
            wake_.notify_all();
        }
        work(0);
        int spins = 0;
        while (done_.load(std::memory_order_acquire) < threads - 1) breathe(spins);
    }

    // Returns once all threads of this run have come here.
    void meet() {
        if (width_ == 1) return;
        const int phase = phase_.load(std::memory_order_relaxed);
        if (waiting_.fetch_add(1, std::memory_order_acq_rel) == width_ - 1) {
            waiting_.store(0, std::memory_order_relaxed);
            phase_.store(phase + 1, std::memory_order_release);
            return;
        }
        int spins = 0;
        while (phase_.load(std::memory_order_acquire) == phase) breathe(spins);
    }

    ~Pool() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            ending_ = true;
            round_++;
        }
        wake_.notify_all();
        for (auto& thread : threads_) thread.join();
    }

   private:
    void grow(int threads) {
        while (int(threads_.size()) < threads - 1) {
            const int number = int(threads_.size()) + 1, seen = round_;
            threads_.emplace_back([this, number, seen] { live(number, seen); });
        }
    }

    void live(int number, int seen) {
        for (;;) {
            int spins = 0;
            while (round_.load(std::memory_order_acquire) == seen && spins < PATIENT_SPINS) breathe(spins);
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return round_ != seen; });
                seen = round_;
            }
            if (ending_) return;
            if (number < width_) {
                (*work_)(number);
                done_.fetch_add(1, std::memory_order_release);
            }
        }
    }

    std::vector<std::thread> threads_;
    std::mutex calls_, mutex_;
    std::condition_variable wake_;
    std::atomic<int> round_{0}, done_{0}, waiting_{0}, phase_{0};
    std::atomic<bool> ending_{false};
    int width_ = 1;
    const std::function<void(int)>* work_ = nullptr;
};

inline Pool& pool() {
    static Pool* only = new Pool;  // never destroyed: at the end of the process its threads just stop
    return *only;
}

// The part of `count` that belongs to one of so many threads.
struct Share {
    int start, stop;
};
inline Share share(int count, int thread, int threads) {
    return {int(int64_t(count) * thread / threads), int(int64_t(count) * (thread + 1) / threads)};
}

}  // namespace qw
