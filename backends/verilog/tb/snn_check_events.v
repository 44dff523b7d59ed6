// Compares a stream of events, in order, with a golden list of {sample, step, event}; says the first difference.
module snn_check_events #(
    parameter NAME = "",
    parameter COUNT = 1,
    parameter SAMPLE = 1, parameter STEP = 1, parameter EXTRA = 1,
    parameter CHANNEL = 1, parameter ROW = 1, parameter COLUMN = 1,
    parameter FILE = ""
) (
    input wire clk,
    input wire valid,
    input wire [STEP-1:0] step,
    input wire [EXTRA+CHANNEL+ROW+COLUMN:0] data,
    output wire done,
    output reg failed
);
    localparam EVENT = 1 + EXTRA + CHANNEL + ROW + COLUMN;
    localparam KEY = 1 + ROW + COLUMN + CHANNEL;
    reg [SAMPLE+STEP+EVENT-1:0] golden[0:COUNT-1];
    initial $readmemh(FILE, golden);

    integer position = 0;
    assign done = position == COUNT;
    wire [SAMPLE+STEP+EVENT-1:0] expected = golden[done ? COUNT - 1 : position];
    wire [SAMPLE-1:0] sample = expected[STEP+EVENT +: SAMPLE];
    wire [STEP-1:0] expected_step = expected[EVENT +: STEP];

    // the order of events within a step: neurons by row, column and channel, then the token
    function [KEY-1:0] key(input [EVENT-1:0] event_);
        key = {event_[EVENT-1], event_[COLUMN +: ROW], event_[0 +: COLUMN], event_[ROW+COLUMN +: CHANNEL]};
    endfunction
    wire [STEP+KEY-1:0] wanted = {expected_step, key(expected[EVENT-1:0])};
    wire [STEP+KEY-1:0] found = {step, key(data)};
    wire [EVENT-1:0] first = found < wanted ? data : expected[EVENT-1:0];
    integer expected_spike, found_spike;

    initial failed = 1'b0;
    always @(posedge clk) if (valid) begin
        if (!failed && (done || expected[STEP+EVENT-1:0] != {step, data})) begin
            failed <= 1'b1;
            expected_spike = found < wanted || done ? 0 : expected[CHANNEL+ROW+COLUMN] ? -1 : 1;
            found_spike = found > wanted ? 0 : data[CHANNEL+ROW+COLUMN] ? -1 : 1;
            if (done) $display("DIFFERENCE %0s: events after the last one", NAME);
            else $display("DIFFERENCE %0s sample %0d step %0d channel %0d row %0d column %0d expected %0d found %0d",
                NAME, sample, found < wanted ? step : expected_step,
                first[ROW+COLUMN +: CHANNEL], first[COLUMN +: ROW], first[0 +: COLUMN], expected_spike, found_spike);
        end
        if (!done) position <= position + 1;
    end
endmodule
